"""Scores: one finite number per completion, from the user's function."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.io import RowWriter, read_rows, read_stamp
from preflow.artifacts.kinds import COMPLETIONS
from preflow.artifacts.prompts import read_prompts
from preflow.errors import ArtifactError
from preflow.models.scorers import load_scorer, score_batches
from preflow.settings.score import ScoreSettings
from preflow.steps.kit import Step


def run(step: Step, *, prompts: str, completions: str, scorer: str, scored: str) -> None:
    """Write `completions` again, with score, scorer and unit."""
    settings = step.settings(ScoreSettings)
    function = load_scorer(scorer, settings.function)
    asked, total = read_prompts(prompts), read_stamp(completions).rows
    facet = {"scorer": f"{file_sha256(scorer)[:12]}:{settings.function}", "unit": settings.unit}
    source, done, scores_sum = read_rows(completions, COMPLETIONS), 0, 0.0
    with RowWriter(scored, COMPLETIONS, facet) as writer:
        while rows := list(islice(source, settings.batch_size)):
            found = _prompts_of(rows, asked, completions)
            texts = [row["text"] for row in rows]
            batches = score_batches(function, found, texts, settings.batch_size, f"scorer {settings.function}")
            scores = [score for batch in batches for score in batch]
            writer.write_many(_with_scores(rows, scores, facet))
            done, scores_sum = done + len(rows), scores_sum + sum(scores)
            step.progress(done, total, "completions")
    step.fact("completions", done)
    step.fact("mean_score", scores_sum / max(1, done))


def _prompts_of(
    rows: list[dict[str, Any]], asked: dict[str, list[dict[str, str]]], path: str
) -> list[list[dict[str, str]]]:
    missing = [row["prompt_id"] for row in rows if row["prompt_id"] not in asked]
    if missing:
        raise ArtifactError(
            f"{path}: prompt {missing[0]} is not among the prompts. Expected completions of these prompts."
        )
    return [asked[row["prompt_id"]] for row in rows]


def _with_scores(rows: list[dict[str, Any]], scores: list[float], facet: dict[str, str]) -> Iterator[dict[str, Any]]:
    for row, score in zip(rows, scores, strict=True):
        yield {**row, "score": score, **facet}
