"""Samples of policy and baseline for the same prompts, judged against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

    @property
    def win(self) -> float:
        """1 if the judge scores the policy higher, one half for a tie, else 0."""
        assert self.scores is not None
        policy, baseline = self.scores
        return 1.0 if policy > baseline else 0.5 if policy == baseline else 0.0


def duels(prompts: Mapping[str, Sequence[Message]], policy: Sequence[Sample], baseline: Sequence[Sample]) -> list[Duel]:
    """Samples joined by prompt and sample index; a baseline of one text per prompt meets every sample of the policy."""
    others = {(each.prompt_id, each.sample_index): each for each in baseline}
    found = []
    for each in sorted(policy, key=lambda sample: (sample.prompt_id, sample.sample_index)):
        other = others.get((each.prompt_id, each.sample_index)) or others[(each.prompt_id, 0)]
        found.append(Duel(each.prompt_id, prompts[each.prompt_id], each, other))
    return found


def text_numbers(found: Sequence[Duel]) -> dict[str, float]:
    """Lengths, distinct n-grams and the share of finished texts, for both sides."""
    numbers = {}
    sides = {"eval/": [duel.policy for duel in found], "eval/baseline_": [duel.baseline for duel in found]}
    for prefix, samples in sides.items():
        numbers[f"{prefix}length"] = sum(len(each.token_ids) for each in samples) / len(samples)
        numbers[f"{prefix}finished_share"] = sum(each.finish_reason == "stop" for each in samples) / len(samples)
        for n in (1, 2):
            numbers[f"{prefix}distinct_{n}"] = distinct_ngrams([each.text for each in samples], n)
    numbers["eval/length_ratio"] = numbers["eval/length"] / max(1e-9, numbers["eval/baseline_length"])
    return numbers


def win_numbers(found: Sequence[Duel], confidence: float, seed: int) -> dict[str, float]:
    """Win rate with its interval (by prompt), and the judge's mean score of both sides."""
    estimate = clustered_mean([duel.win for duel in found], [duel.prompt_id for duel in found], confidence, seed)
    scores = [duel.scores for duel in found if duel.scores]
    return {
        "eval/win_rate": estimate.mean,
        "eval/win_rate_low": estimate.low,
        "eval/win_rate_high": estimate.high,
        "eval/tie_share": sum(policy == baseline for policy, baseline in scores) / len(scores),
        "eval/judge_score": sum(policy for policy, _ in scores) / len(scores),
        "eval/baseline_judge_score": sum(baseline for _, baseline in scores) / len(scores),
    }
