"""The columns of a row under our names, and what to say where one is missing."""

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from preflow.settings.data import ColumnName, DataKind, ImportSettings
from preflow.steps.import_data.problems import RowError
from preflow.steps.import_data.readers import SPLIT_KEY

ALIASES: dict[ColumnName, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction", "query"),
    "chosen": ("chosen", "preferred"),
    "rejected": ("rejected", "dispreferred"),
    "completion": ("completion", "response", "output", "answer"),
    "messages": ("messages", "conversations", "conversation"),
    "label": ("label", "desirable", "is_desirable", "acceptable", "thumbs", "feedback"),
    "score": ("score", "reward", "rating"),
    "answer": ("answer",),
    "paraphrased": ("paraphrased_answer",),
    "perturbed": ("perturbed_answer", "perturbed_answers"),
    "source": ("source",),
    "chosen_score": ("chosen_score", "score_chosen"),
    "rejected_score": ("rejected_score", "score_rejected"),
}
NAMES: dict[DataKind, tuple[ColumnName, ...]] = {
    "pairs": ("prompt", "chosen", "rejected", "source", "chosen_score", "rejected_score"),
    "sft": ("prompt", "completion", "messages", "source"),
    "negatives": ("prompt", "completion", "messages", "source"),
    "labelled": ("prompt", "completion", "messages", "label", "source"),
    "scored": ("prompt", "completion", "messages", "score", "source"),
    "questions": ("prompt", "completion", "paraphrased", "perturbed", "source"),
    "prompts": ("prompt", "messages", "answer", "source"),
}
"""What is read of each kind; columns mapped for another kind (of the same run's other files) do not matter."""
HELDOUT_NAMES = {"heldout", "held-out", "held_out", "test", "validation", "valid", "val", "eval", "dev"}
TRAIN_NAMES = {"train", "training"}
SHOWN_COLUMNS = 20
PLAIN_NAME = re.compile(r"[^\W\d][\w-]*")
"""Names that YAML takes without quotes."""


def named_values(row: Mapping[str, Any], settings: ImportSettings) -> dict[str, Any]:
    """The row's values under our names; `data.columns` goes before the usual names."""
    values: dict[str, Any] = {}
    for name in NAMES[settings.kind]:
        if name in settings.columns:
            column = settings.columns[name]
            if column is None:
                continue
            if column not in row:
                raise missing_column(column, row, f"data.columns maps {name} to it", f"columns: {{{name}: ")
            values[name] = row[column]
        else:
            for alias in ALIASES[name]:
                if alias in row:
                    values[name] = row[alias]
                    break
    if "instruction" in row and row.get("input") and "prompt" not in row and "prompt" not in settings.columns:
        raise RowError(
            "ambiguous_columns",
            "instruction has an input beside it, which would not be read.",
            "Join both into a column `prompt`.",
        )
    return values


def missing_column(name: str, row: Mapping[str, Any], why: str, setting: str = "") -> RowError:
    """`setting` is how the run file's data section would name the column, up to the column."""
    columns = [column for column in row if column != SPLIT_KEY]
    taken = {alias for ours, aliases in ALIASES.items() if ours != name for alias in aliases}
    by_lower_case = {str(column).lower(): column for column in columns if column not in taken}
    close = difflib.get_close_matches(name.lower(), list(by_lower_case), n=1, cutoff=0.5)
    setting = setting or f"columns: {{{name}: "
    end = "}" if "{" in setting else ""
    shown = ", ".join(map(str, columns[:SHOWN_COLUMNS])) or "none"
    more = f" and {len(columns) - SHOWN_COLUMNS} more" if len(columns) > SHOWN_COLUMNS else ""
    if close:
        best = by_lower_case[close[0]]
        written = best if PLAIN_NAME.fullmatch(str(best)) else json.dumps(best, ensure_ascii=False)
        fix = f"Did you mean {best!r}? Rename it, or set {setting}{written}{end} beside the files."
    else:
        fix = f"Add it, or set {setting}YOUR_COLUMN{end} beside the files."
    return RowError("missing_column", f"no column {name!r} ({why}); columns here: {shown}{more}.", fix)


def unread_texts(row: Mapping[str, Any], settings: ImportSettings) -> bool:
    """Whether a column holds text and has no meaning for us, so that it may be the prompt under another name."""
    known = {alias for aliases in ALIASES.values() for alias in aliases}
    known |= {*filter(None, settings.columns.values()), SPLIT_KEY, "id", "split", settings.split_column or "split"}
    others = (value for name, value in row.items() if name not in known and not str(name).endswith("_id"))
    return any(isinstance(value, str | list) for value in others)


def split_of_row(row: Mapping[str, Any], settings: ImportSettings) -> str | None:
    """train or heldout, where the row or the folder it came from says so."""
    if settings.split_column is not None and settings.split_column not in row:
        raise missing_column(settings.split_column, row, "data.split_column names it", "split_column: ")
    name = row.get(settings.split_column or SPLIT_KEY)
    if name is None and settings.split_column is None:
        return None
    plain = str(name).strip().lower()
    if any(plain == train or plain.startswith(f"{train}_") for train in TRAIN_NAMES):
        return "train"
    if any(plain == held or plain.startswith(f"{held}_") for held in HELDOUT_NAMES):
        return "heldout"
    if settings.split_column is None:
        return None
    expected = "expected train or heldout (also: test, validation, eval)"
    raise RowError("unknown_split", f"{settings.split_column} is {name!r}, {expected}.", "Rename the value.")
