"""Rejection sampling: some of the scored completions of every prompt are kept."""

from collections.abc import Iterator
from math import isfinite
from statistics import fmean
from typing import Any

from preflow.artifacts.draws import generator
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.errors import ArtifactError
from preflow.selection.grouping import by_prompt
from preflow.selection.rejection import Accepted, best_of_n, statistical_rejection_sample
from preflow.settings.rejection import RejectionSettings
from preflow.steps.kit import Step


def run(step: Step, *, scored: str, accepted: str) -> None:
    """Write the accepted completions, each with the round it was accepted in, in the order of acceptance."""
    settings = step.settings(RejectionSettings)
    groups = by_prompt(read_rows(scored, COMPLETIONS))
    _refuse_unscored(groups, scored)
    chosen = {prompt: _choose(prompt, rows, settings) for prompt, rows in groups.items()}
    write_rows(accepted, COMPLETIONS, _rows(groups, chosen), {"rule": settings.rule})
    _report(step, groups, chosen, settings)


def _choose(prompt: str, rows: list[dict[str, Any]], settings: RejectionSettings) -> Accepted:
    scores = [row["score"] for row in rows]
    if settings.rule == "best_of_n":
        return best_of_n(scores, settings.num_accepted)
    random = generator("rejection", settings.seed, prompt)
    return statistical_rejection_sample(scores, settings.num_accepted, settings.temperature, iter(random.random, None))


def _rows(groups: dict[str, list[dict[str, Any]]], chosen: dict[str, Accepted]) -> Iterator[dict[str, Any]]:
    for prompt, rows in groups.items():
        for index, turn in zip(chosen[prompt].indices, chosen[prompt].rounds, strict=True):
            yield {**rows[index], "round": turn}


def _report(
    step: Step, groups: dict[str, list[dict[str, Any]]], chosen: dict[str, Accepted], settings: RejectionSettings
) -> None:
    wanted = settings.num_accepted
    pool = [row["score"] for rows in groups.values() for row in rows]
    kept = [groups[prompt][index]["score"] for prompt, accepted in chosen.items() for index in accepted.indices]
    short = sum(len(accepted.indices) < wanted for accepted in chosen.values())
    visited = sum(accepted.uniforms_consumed for accepted in chosen.values())
    unit = next((row["unit"] for rows in groups.values() for row in rows), None) or "raw"
    step.fact("prompts", len(groups))
    step.fact("unit", unit)
    step.fact("accepted", len(kept))
    step.fact("mean_score_pool", fmean(pool) if pool else 0.0)
    step.fact("mean_score_accepted", fmean(kept) if kept else 0.0)
    step.fact("acceptance_rate", len(kept) / visited if visited else 1.0)
    step.fact("mean_rounds", fmean(max(each.rounds) + 1 for each in chosen.values()) if chosen else 0.0)
    step.fact("unique_share", sum(len({row["text"] for row in rows}) for rows in groups.values()) / max(1, len(pool)))
    if unit == "raw" and settings.rule == "statistical":
        step.log(
            f"scores are of no unit (score.unit raw): a difference of rejection.temperature ({settings.temperature:g}) makes a "
            "candidate e times likelier; the paper's 0.5 is meant for log-odds"
        )
    if short:
        step.warn(f"{short} of {len(groups)} prompts have fewer than {wanted} candidates; all of theirs were kept.")


def _refuse_unscored(groups: dict[str, list[dict[str, Any]]], path: str) -> None:
    for rows in groups.values():
        for row in rows:
            if row["score"] is None:
                raise ArtifactError(
                    f"{path}: completion {row['completion_id']} has no score. Run score_candidates first."
                )
            if not isfinite(row["score"]):
                raise ArtifactError(
                    f"{path}: completion {row['completion_id']} has the score {row['score']}, expected a finite number: a NaN "
                    "would always be accepted. Mend the scorer and score again."
                )
