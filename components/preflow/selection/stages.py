"""Which pairs a stage of stepwise training sees (Kim et al. 2024, arXiv 2403.19270v2, sDPO).

The paper sorts its sources by the initial model's reward accuracy, which is not defined as written: with that model as
its own reference every implicit reward is 0. What is counted here is gamma = logp(chosen) - logp(rejected) > 0 under the
initial model, as sums of nats over completion tokens (which favours short chosen texts), or per token.
"""

import math
from collections.abc import Mapping, Sequence


def gamma(chosen_logp: float, rejected_logp: float) -> float:
    """logp(chosen) - logp(rejected) of a model, nats. Positive: the model prefers the chosen text already."""
    return chosen_logp - rejected_logp


def gamma_per_token(
    chosen_logp: float, chosen_num_tokens: int, rejected_logp: float, rejected_num_tokens: int
) -> float:
    """gamma of the mean log-probs, nats per token: the pair's easiness without its lengths."""
    return chosen_logp / chosen_num_tokens - rejected_logp / rejected_num_tokens


def source_accuracies(gammas: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The share of gamma > 0 of every source, in [0, 1]. Raises ValueError for a source without pairs, or a NaN."""
    for source, values in gammas.items():
        if not values or any(math.isnan(value) for value in values):
            raise ValueError(f"source {source!r}: expected one number per pair and at least one pair, got {values}")
    return {source: sum(value > 0 for value in values) / len(values) for source, values in gammas.items()}


def sources_easy_to_hard(gammas: Mapping[str, Sequence[float]]) -> list[str]:
    """The sources by falling share of gamma > 0; among equals in the order given.

    >>> sources_easy_to_hard({"a": [1.0, -2.0], "b": [-1.0, -2.0], "c": [1.0, 2.0]})
    ['c', 'a', 'b']
    """
    accuracies = source_accuracies(gammas)
    return sorted(accuracies, key=lambda source: -accuracies[source])


def source_stages(num_sources: int, num_stages: int) -> list[int]:
    """The stage of every source, given from easy to hard: as many sources in each stage, the earlier ones taking more.

    The paper has one source per stage. Raises ValueError where there are fewer sources than stages.

    >>> source_stages(5, 2)
    [0, 0, 0, 1, 1]
    """
    return equal_stages([float(-place) for place in range(num_sources)], num_stages)


def equal_stages(easiness: Sequence[float], num_stages: int) -> list[int]:
    """The stage (from 0, the easiest) of every pair: pairs sorted by falling easiness, cut into equal parts.

    Sizes differ by one at most, the earlier stages being the larger; among equals the earlier pair is the easier.
    Raises ValueError for a NaN, or where there are fewer pairs than stages.

    >>> equal_stages([0.5, -1.0, 2.0, 0.1, 0.0], 2)
    [0, 1, 0, 0, 1]
    """
    if any(math.isnan(value) for value in easiness) or not 1 <= num_stages <= len(easiness):
        raise ValueError(f"expected numbers and 1 to {len(easiness)} stages, got {num_stages} stages or a NaN")
    order = sorted(range(len(easiness)), key=lambda pair: -easiness[pair])
    size, larger = divmod(len(order), num_stages)
    stages = [0] * len(order)
    for place, pair in enumerate(order):
        stages[pair] = place // (size + 1) if place < larger * (size + 1) else (place - larger) // size
    return stages
