"""Rows of an artifact grouped by prompt, in the order in which prompts and samples first appear."""

from collections.abc import Iterable
from typing import Any

from preflow.artifacts.candidates import TEACHER


def by_prompt(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """prompt_id -> its rows, by sample index where rows have one (a law of sampling order must not hang on file order); a
    teacher's answer comes last."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["prompt_id"], []).append(row)
    for group in groups.values():
        group.sort(key=_place)
    return groups


def _place(row: dict[str, Any]) -> tuple[bool, int]:
    index = row.get("sample_index")
    return row.get("source") == TEACHER, -1 if index is None else index
