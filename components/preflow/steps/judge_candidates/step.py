"""Judgments: for ordered pairs of candidates of a prompt, the probability that the first one wins."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from preflow.artifacts.candidates import read_candidates
from preflow.artifacts.io import RowWriter
from preflow.artifacts.kinds import JUDGMENTS
from preflow.artifacts.prompts import read_prompts
from preflow.errors import ArtifactError, DataError, Problem
from preflow.models.judge_llm import LLMJudge
from preflow.selection.grouping import by_prompt
from preflow.selection.win_rates import cyclic_triads
from preflow.settings.judge import JudgeSettings
from preflow.steps.judge_candidates.asking import (
    Asking,
    Groups,
    Match,
    all_matches,
    baseline_matches,
    count_questions,
    play_tournaments,
)
from preflow.steps.judge_candidates.judges import open_judge
from preflow.steps.kit import Step


def run(
    step: Step,
    *,
    prompts: str,
    completions: str,
    judgments: str,
    judge: str | None = None,
    reward_model: str | None = None,
    teacher: str | None = None,
) -> None:
    """Write judgments/v1 of the pairs that the schedule names; prompts with one candidate have none.

    Raises SettingsError for a judge that is missing, ScorerError for one that fails, DataError where nothing can be compared.
    """
    settings = step.settings(JudgeSettings)
    opened = open_judge(step, settings, judge, reward_model)
    asked = read_prompts(prompts)
    found = by_prompt(read_candidates(completions, teacher))
    groups = {prompt: group for prompt, group in found.items() if len(group) > 1}
    _check(groups, asked, completions)
    total = count_questions(groups, settings)
    step.progress(0, total, "questions")
    facts = {"schedule": settings.schedule, "judge": opened.name, "version": opened.version}
    with RowWriter(judgments, JUDGMENTS, facts) as writer:
        asking = Asking(
            opened, settings, asked, groups, writer.write, lambda done: step.progress(done, total, "questions")
        )
        if settings.schedule == "tournament":
            play_tournaments(asking)
        elif settings.schedule == "versus_baseline":
            asking.ask(baseline_matches(groups, settings))
        else:
            matches = list(all_matches(groups, settings))
            for name, value in circle_facts(groups, matches, asking.ask(matches)).items():
                step.fact(name, value)
    for name, value in asking.tally.facts().items():
        step.fact(name, value)
    step.fact("prompts", len(groups))
    step.fact("prompts_with_one_candidate", len(found) - len(groups))
    if isinstance(opened, LLMJudge):
        for name, value in asdict(opened.counts).items():
            step.fact(f"endpoint_{name}", value)


def _check(groups: Groups, asked: dict[str, list[dict[str, str]]], completions: str) -> None:
    if not groups:
        message = "no prompt has two candidates, so there is nothing to compare."
        fix = "Set generate.candidates_per_prompt to 2 or more."
        raise DataError([Problem(completions, 0, "nothing_to_compare", message, fix)])
    if missing := next((prompt for prompt in groups if prompt not in asked), None):
        raise ArtifactError(
            f"{completions}: prompt {missing} is not among the prompts. Expected completions of these prompts."
        )


def circle_facts(groups: Groups, matches: Sequence[Match], wins: Sequence[float]) -> dict[str, float]:
    """How many triples of candidates beat each other in a circle: what no scalar score can say."""
    matrices = {prompt: np.full((len(group), len(group)), 0.5) for prompt, group in groups.items()}
    for (prompt, first, second), probability in zip(matches, wins, strict=True):
        matrices[prompt][first, second] = probability
        matrices[prompt][second, first] = 1 - probability
    counts = [cyclic_triads(matrix) for matrix in matrices.values()]
    circles, triples = (sum(each) for each in zip(*counts, strict=True))
    return {"cyclic_triads": circles} | ({"cyclic_share": circles / triples} if triples else {})
