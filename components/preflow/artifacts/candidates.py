"""The candidates of prompts: what the policy sampled, and a teacher's answers to the same prompts beside it."""

from collections.abc import Iterator
from typing import Any

from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.errors import ArtifactError

TEACHER = "teacher"


def read_candidates(completions: str, teacher: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of `completions`, then the rows of `teacher` that answer one of their prompts, with the source TEACHER.

    Raises ArtifactError where the teacher answers a prompt twice, or none of them: then it was asked something else.
    """
    sampled: set[str] = set()
    for row in read_rows(completions, COMPLETIONS):
        sampled.add(row["prompt_id"])
        yield row
    if teacher is None:
        return
    answered: set[str] = set()
    for row in read_rows(teacher, COMPLETIONS):
        prompt = row["prompt_id"]
        if prompt in answered:
            raise ArtifactError(
                f"{teacher}: two answers to prompt {prompt}. Expected one of each; keep the better one."
            )
        if prompt in sampled:
            answered.add(prompt)
            yield {**row, "source": TEACHER, "sample_index": None, "split": "train"}
    if not answered:
        raise ArtifactError(
            f"{teacher}: answers none of the {len(sampled)} prompts that were sampled. Expected a teacher's answers to the "
            "data's own prompts, with the same text."
        )
