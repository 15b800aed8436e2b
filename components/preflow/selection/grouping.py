"""Rows of an artifact grouped by prompt, in the order in which prompts and samples first appear."""

from collections.abc import Iterable
from typing import Any


def by_prompt(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """prompt_id -> its rows, by sample index where rows have one (a law of sampling order must not hang on file order)."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["prompt_id"], []).append(row)
    for group in groups.values():
        group.sort(key=lambda row: -1 if row.get("sample_index") is None else row["sample_index"])
    return groups
