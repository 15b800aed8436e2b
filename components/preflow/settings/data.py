"""The data section: which rows there are, how they are read, checked and split."""

from typing import Literal, Self

from pydantic import model_validator

from preflow.settings.section import Section, setting

DataKind = Literal["prompts", "pairs", "sft", "labelled", "scored", "negatives", "questions"]
ColumnName = Literal[
    "prompt",
    "chosen",
    "rejected",
    "completion",
    "messages",
    "label",
    "score",
    "answer",
    "paraphrased",
    "perturbed",
    "source",
    "chosen_score",
    "rejected_score",
]
WITHOUT_VOTES = ("labelled", "scored")
"""Kinds whose rows say something of a completion that cannot be merged: duplicates are refused or kept."""


class ImportOptions(Section):
    """What the run file says about reading its data."""

    columns: dict[ColumnName, str | None] = setting(
        {},
        "our name -> the file's column, where they differ; null: as if the column were not there",
        source="the usual names are known already",
    )
    split_column: str | None = setting(
        None, "column that holds train or heldout (also: test, validation, eval)", source="none: split by prompt hash"
    )
    heldout_fraction: float = setting(
        0.1,
        "share of prompts held out, by prompt hash; a prompt never moves",
        source="a tenth, the usual share",
        ge=0.0,
        lt=1.0,
    )
    duplicates: Literal["stop", "keep", "aggregate"] = setting(
        "stop",
        "equal rows, pairs in both directions, a completion with two labels or scores: stop; keep them; aggregate pairs "
        "into preference and weight",
        source="disagreeing annotators are legitimate data, but must be meant",
    )
    on_bad_row: Literal["stop", "drop"] = setting(
        "stop", "drop writes bad rows with their reasons to the rejects file", source="nothing is lost silently"
    )
    allow_assistant_prefix: bool = setting(
        False,
        "accept prompts that end with an assistant turn (the completion continues it)",
        source="mostly a broken export",
    )


class ImportSettings(ImportOptions):
    """What the step `import_data` receives; the files themselves arrive as an input."""

    kind: DataKind = setting("pairs", "what a row is", source="the run file's key: prompts, pairs, labelled, ...")
    answer: Literal["optional", "text", "number"] = setting(
        "optional", "what a prompt's `answer` must be", source="what `scorer: verifiable` compares with"
    )

    @model_validator(mode="after")
    def _no_votes(self) -> Self:
        refuse_aggregation(self, self.kind)
        return self


def refuse_aggregation(options: ImportOptions, kind: str) -> None:
    """Raises ValueError where rows of a kind are no votes that could be counted."""
    if options.duplicates == "aggregate" and kind in WITHOUT_VOTES:
        raise ValueError(f"duplicates: aggregate counts votes on pairs, but the rows are {kind}: use stop or keep")
