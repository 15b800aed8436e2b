"""The data section: which rows there are, how they are read, checked and split."""

from typing import Literal

from preflow.settings.section import Section, setting

DataKind = Literal["prompts", "pairs", "sft"]
ColumnName = Literal[
    "prompt", "chosen", "rejected", "completion", "messages", "answer", "source", "chosen_score", "rejected_score"
]


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
        "equal pairs, or pairs in both directions: stop; keep them; aggregate them into preference and weight",
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

    kind: DataKind = setting("pairs", "what a row is", source="the run file's key: prompts, pairs or sft")
