"""Samples of policy and baseline for the same prompts, judged against each other.

The win rate is the usual one: the probability that the judge scores a sample of the policy higher than one of the
baseline for the same prompt, ties half, where the two are drawn independently. So policy and baseline never share
random numbers (that would change the quantity, not only its noise), and with N samples on each side all N x N
comparisons of a prompt count: the U-statistic, unbiased and of the smallest variance (Mann and Whitney 1947).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preflow.artifacts.ids import Message
from preflow.evaluation.diversity import distinct_ngrams
from preflow.evaluation.statistics import clustered_mean
from preflow.models.sampling import Sample


@dataclass(frozen=True)
class Duel:
    """Policy and baseline text of one prompt and sample index, with the judge's scores where there is a judge."""

    prompt_id: str
    prompt: Sequence[Message]
    policy: Sample
    baseline: Sample
    scores: tuple[float, float] | None = None


def duels(prompts: Mapping[str, Sequence[Message]], policy: Sequence[Sample], baseline: Sequence[Sample]) -> list[Duel]:
    """Samples joined by prompt and sample index; a baseline of one text per prompt meets every sample of the policy."""
    others = {(each.prompt_id, each.sample_index): each for each in baseline}
    found = []
    for each in sorted(policy, key=lambda sample: (sample.prompt_id, sample.sample_index)):
        other = others.get((each.prompt_id, each.sample_index)) or others[(each.prompt_id, 0)]
        found.append(Duel(each.prompt_id, prompts[each.prompt_id], each, other))
    return found


def text_numbers(found: Sequence[Duel]) -> dict[str, float]:
    """Tokens per text (end-of-turn token included), distinct n-grams and the share of finished texts, for both sides."""
    numbers = {}
    sides = {"eval/": [duel.policy for duel in found], "eval/baseline_": [duel.baseline for duel in found]}
    for prefix, samples in sides.items():
        numbers[f"{prefix}length"] = sum(len(each.token_ids) for each in samples) / len(samples)
        numbers[f"{prefix}finished_share"] = sum(each.finish_reason == "stop" for each in samples) / len(samples)
        for n in (1, 2):
            if (distinct := distinct_ngrams([each.text for each in samples], n)) is not None:
                numbers[f"{prefix}distinct_{n}"] = distinct
    numbers["eval/length_ratio"] = numbers["eval/length"] / max(1e-9, numbers["eval/baseline_length"])
    return numbers


def win_numbers(found: Sequence[Duel], confidence: float, seed: int) -> dict[str, float]:
    """Win rate with its interval (prompts are the units), the share of ties, the judge's mean score of both sides."""
    scores = [duel.scores for duel in found if duel.scores]
    wins, ties = _comparisons(found)
    return {
        **clustered_mean(wins, [duel.prompt_id for duel in found], confidence, seed).as_numbers("eval/win_rate"),
        "eval/tie_share": sum(ties) / len(ties),
        "eval/judge_score": sum(policy for policy, _ in scores) / len(scores),
        "eval/baseline_judge_score": sum(baseline for _, baseline in scores) / len(scores),
    }


def _comparisons(found: Sequence[Duel]) -> tuple[list[float], list[float]]:
    """Of every policy sample: the shares of the prompt's baseline samples that it beats (ties half), and ties with."""
    others: dict[str, list[float]] = {}
    for duel in found:
        assert duel.scores is not None, "a duel without scores was not judged"
        others.setdefault(duel.prompt_id, []).append(duel.scores[1])
    wins, ties = [], []
    for duel in found:
        own, rivals = duel.scores[0], np.array(others[duel.prompt_id])  # type: ignore[index]
        ties.append(float((rivals == own).mean()))
        wins.append(float((rivals < own).mean()) + 0.5 * ties[-1])
    return wins, ties
