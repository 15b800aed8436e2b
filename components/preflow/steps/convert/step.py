"""Rows of one kind as rows of another, where that means something.

    pairs    -> labelled    the preferred completion is desirable, the other one is not; each completion once
    pairs    -> negatives   the completion that was not preferred
    pairs    -> sft         the preferred completion
    scored   -> labelled    desirable above a threshold
    any      -> prompts     each prompt once

Where pairs disagree about a completion, the majority of their votes decides; one with as many votes for as against it
has no label and is left out. Labels are mixed: a file of labels one after the other makes batches of one label.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from preflow.artifacts.io import expect_kind, read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS, Kind
from preflow.errors import DataError, Problem, SettingsError
from preflow.selection.labels import labels_from_pairs, labels_from_scores, shuffled
from preflow.settings.convert import ConvertSettings
from preflow.steps.kit import Step

Row = dict[str, Any]
Rows = Iterator[Row]
VOTES = ("chosen_id", "rejected_id", "preference", "weight")
MIXED_AT_ONCE = 1 << 15  # rows; about 100 MB


def run(step: Step, *, data: str, converted: str) -> None:
    """Write the rows of `data` as rows of the kind `to`. Raises SettingsError where that means nothing, DataError for no rows."""
    settings = step.settings(ConvertSettings)
    found = expect_kind(data, (PROMPTS, PAIRS, COMPLETIONS))
    make = CONVERSIONS.get((found.name, settings.to))
    if make is None:
        sources = sorted(source for source, to in CONVERSIONS if to == settings.to)
        raise SettingsError(
            f"{data} holds {found.name}: they do not say what {settings.to} rows would need. Expected {' or '.join(sources)}."
        )
    target, rows = make(step, data, settings)
    counted = _Counted(rows, Problem(data, 0, "no_rows", f"no {settings.to} rows remain.", "Look at the data report."))
    count = write_rows(converted, target, counted, {"converted_from": found.stamp})
    step.fact("rows", count)
    if settings.to == "labelled":
        step.fact("desirable", counted.desirable)
        step.fact("undesirable", count - counted.desirable)


class _Counted:
    """Rows on their way into the file; none of them is a problem."""

    def __init__(self, rows: Rows, if_none: Problem):
        self._rows, self._if_none, self.desirable = rows, if_none, 0

    def __iter__(self) -> Rows:
        none = True
        for row in self._rows:
            none = False
            self.desirable += row.get("desirable") is True
            yield row
        if none:
            raise DataError([self._if_none])


def _labelled_pairs(step: Step, data: str, settings: ConvertSettings) -> tuple[Kind, Rows]:
    return COMPLETIONS, mixed(_sides(data, _majority(step, data)), settings.seed)


def _one_side(wanted: bool) -> Callable[[Step, str, ConvertSettings], tuple[Kind, Rows]]:
    def make(step: Step, data: str, settings: ConvertSettings) -> tuple[Kind, Rows]:
        labels = {each: label for each, label in _majority(step, data).items() if label is wanted}
        return COMPLETIONS, _sides(data, labels)

    return make


def _labelled_scores(step: Step, data: str, settings: ConvertSettings) -> tuple[Kind, Rows]:
    scores = [row["score"] for row in read_rows(data, COMPLETIONS, ("score",))]
    if None in scores:
        raise SettingsError(
            f"{data}: row {scores.index(None) + 1} has no score, so it has no label. Expected scored completions."
        )
    labels = labels_from_scores(scores, settings.threshold)
    rows = ({**row, "desirable": label} for row, label in zip(read_rows(data, COMPLETIONS), labels, strict=True))
    return COMPLETIONS, mixed(rows, settings.seed)


def _prompts(step: Step, data: str, settings: ConvertSettings) -> tuple[Kind, Rows]:
    first: set[str] = set()
    rows = read_rows(data, (PROMPTS, PAIRS, COMPLETIONS), ("prompt_id", "prompt", "source", "split"))
    return PROMPTS, (row for row in rows if row["prompt_id"] not in first and not first.add(row["prompt_id"]))  # type: ignore[func-returns-value]


def _majority(step: Step, data: str) -> dict[str, bool]:
    """completion_id -> whether it was preferred."""
    found = labels_from_pairs(read_rows(data, PAIRS, VOTES))
    if found.contradicted:
        count = len(found.contradicted)
        step.warn(f"{count:,} completions were preferred as often as not: they have no label and are left out.")
    step.fact("contradicted", len(found.contradicted))
    return found.desirable


def _sides(data: str, labels: dict[str, bool]) -> Rows:
    """The completions that have a label, once each, in the order of the pairs."""
    labels = dict(labels)
    for row in read_rows(data, PAIRS):
        for side in ("chosen", "rejected"):
            label = labels.pop(row[f"{side}_id"], None)
            if label is not None:
                yield {
                    "completion_id": row[f"{side}_id"],
                    "prompt_id": row["prompt_id"],
                    "prompt": row["prompt"],
                    "text": row[side],
                    "token_ids": row[f"{side}_token_ids"],
                    "finish_reason": row[f"{side}_finish"],
                    "score": row[f"{side}_score"],
                    "source": row["source"],
                    "split": row["split"],
                    "desirable": label,
                }


def mixed(rows: Rows, seed: int) -> Rows:
    """The rows in an order keyed by `seed` and their ids, some ten thousand at a time: memory does not grow with their number."""
    while block := list(islice(rows, MIXED_AT_ONCE)):
        yield from (block[place] for place in shuffled([row["completion_id"] for row in block], "convert", seed))


CONVERSIONS = {
    ("pairs", "labelled"): _labelled_pairs,
    ("pairs", "negatives"): _one_side(False),
    ("pairs", "sft"): _one_side(True),
    ("completions", "labelled"): _labelled_scores,
    ("pairs", "prompts"): _prompts,
    ("completions", "prompts"): _prompts,
    ("prompts", "prompts"): _prompts,
}
"""(kind of the artifact, kind of the rows to make) -> how."""
