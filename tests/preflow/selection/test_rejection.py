"""Rejection sampling: the vectors, the exact law, the distribution."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preflow.selection.pairing import best_worst, first_round
from preflow.selection.rejection import best_of_n, statistical_rejection_sample

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rejection.json").read_text())


@pytest.mark.parametrize("case", VECTORS["srs"], ids=lambda case: case["id"])
def test_vectors(case: dict[str, Any]) -> None:
    temperature = math.inf if case["beta"] == "inf" else case["beta"]
    found = statistical_rejection_sample(case["rewards"], case["num_samples"], temperature, iter(case["uniforms"]))
    expected = case["expected"]
    assert list(found.indices) == expected["accepted_indices_in_order"]
    assert list(found.rounds) == expected["round_of_each_acceptance"]
    assert found.uniforms_consumed == expected["uniforms_consumed"]
    if "pool_exhausted" in expected:
        assert found.pool_exhausted == expected["pool_exhausted"]


@pytest.mark.parametrize("case", VECTORS["srs_exact_law"], ids=lambda case: f"k{case['num_samples']}")
def test_exact_law(case: dict[str, Any]) -> None:
    """Every decision tree of accept or reject, with its probability, by walking the sampler through each branch."""
    found: dict[tuple[int, ...], float] = {}
    for outcome, probability in branches(case["rewards"], case["num_samples"], case["beta"]):
        found[outcome] = found.get(outcome, 0.0) + probability
    assert sum(found.values()) == pytest.approx(1, abs=1e-9)
    for each in case["ordered_outcomes"]:
        assert found[tuple(each["accepted"])] == pytest.approx(each["prob"], abs=1e-9)


def branches(rewards: list[float], k: int, beta: float, depth: int = 14) -> Any:
    """(outcome, probability) per path; a path's uniforms accept (0) or reject (just below 1) each visited candidate."""
    for path in itertools.product((True, False), repeat=min(depth, 3 * len(rewards))):
        weights: list[tuple[bool, float]] = []
        accepted = walk(rewards, k, beta, path, weights)
        if accepted is None or any(not choice for choice in path[len(weights) :]):
            continue  # the unused end of a path counts once, as all accepted
        yield accepted, math.prod(weight if choice else 1 - weight for choice, weight in weights)


def walk(
    rewards: list[float], k: int, beta: float, path: tuple[bool, ...], weights: list[tuple[bool, float]]
) -> tuple[int, ...] | None:
    """The sampler itself on a stream that realises `path`, recording each visited candidate's acceptance probability."""
    pool, accepted, place = list(range(len(rewards))), [], 0
    uniforms: list[float] = []
    while len(accepted) < k and pool:
        highest, taken = max(rewards[i] for i in pool), []
        for index in pool:
            if place == len(path):
                return None
            weight = math.exp((rewards[index] - highest) / beta)
            if not path[place] and weight == 1:
                return None
            weights.append((path[place], weight))
            uniforms.append(0.0 if path[place] else math.nextafter(1, 0))
            place += 1
            if weights[-1][0]:
                taken.append(index)
                accepted.append(index)
                if len(accepted) == k:
                    break
        pool = [index for index in pool if index not in taken]
    found = statistical_rejection_sample(rewards, k, beta, iter(uniforms))
    assert list(found.indices) == accepted
    return found.indices


@pytest.mark.parametrize("case", VECTORS["srs_distribution"], ids=lambda case: case["id"])
def test_distribution(case: dict[str, Any]) -> None:
    """Accepted candidates of the first round follow pi_sft * exp(score / beta), at the rate of theorem 1 (chi-square)."""
    generator = np.random.default_rng(0)
    outcomes = generator.choice(len(case["pi_sft"]), size=20_000, p=case["pi_sft"])
    scores = np.array(case["rewards"])[outcomes].tolist()
    found = statistical_rejection_sample(scores, len(scores), case["beta"], iter(generator.random, None))
    first = [outcomes[index] for index, turn in zip(found.indices, found.rounds, strict=True) if turn == 0]
    counts = np.bincount(first, minlength=len(case["pi_sft"]))
    expected = np.array(case["expected"]["accepted_distribution"]) * len(first)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 20, "the 99.9 % point of chi-square with 4 degrees of freedom is 18.5"
    rate, wanted = len(first) / len(scores), case["expected"]["acceptance_rate"]
    assert abs(rate - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / len(scores))


def test_bad_scores_and_sizes_are_refused() -> None:
    for scores, k, temperature in [([math.nan, 1.0], 1, 0.5), ([math.inf], 1, 0.5), ([1.0], 0, 0.5), ([1.0], 1, -1.0)]:
        with pytest.raises(ValueError, match=r"finite|at least"):
            statistical_rejection_sample(scores, k, temperature, iter([0.0] * 9))


def test_best_of_n_keeps_ties_in_order() -> None:
    assert best_of_n([0.1, 0.9, 0.9, 0.5], 3).indices == (1, 2, 3)


@pytest.mark.parametrize("case", VECTORS["pair_building"], ids=lambda case: case["id"])
def test_first_round_vectors(case: dict[str, Any]) -> None:
    found = first_round(case["scores"], case["order"])
    assert [list(pair) for pair in found] == case["first_round_pairs_chosen_rejected"]


def test_best_worst() -> None:
    assert best_worst([0.2, 0.9, -1.0, 0.9], [0, 1, 2, 3]) == [(1, 2)]
    assert best_worst([0.2], [0]) == []
