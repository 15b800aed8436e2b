"""The prompts of an artifact, by id: of prompts/v1, or those that pairs and imported completions carry."""

from collections.abc import Iterator
from typing import Any

from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS


def read_prompts(path: str) -> dict[str, list[dict[str, str]]]:
    """prompt_id -> messages, each once, in the file's order. Raises ArtifactError for another kind."""
    return {row["prompt_id"]: row["prompt"] for row in _rows(path)}


def read_answers(path: str) -> dict[str, str | None]:
    """prompt_id -> the right answer, where the prompt has one. Raises ArtifactError for anything but prompts/v1."""
    return {row["prompt_id"]: row["answer"] for row in read_rows(path, PROMPTS, ("prompt_id", "answer"))}


def _rows(path: str) -> Iterator[dict[str, Any]]:
    return read_rows(path, (PROMPTS, PAIRS, COMPLETIONS), ("prompt_id", "prompt"))
