"""From judgments to matrices, win rates and pairs."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflow.selection.targets import grpo_advantages, rloo_advantages, sppo_targets
from preflow.selection.win_rates import (
    bradley_terry_preferences,
    bradley_terry_rewards,
    check_preferences,
    cyclic_triads,
    order_flip_rate,
    pairrm_preferences,
    preference_matrix,
    win_rates,
    winner_loser,
)

CYCLE = [[0.5, 0.75, 0.125], [0.25, 0.5, 0.625], [0.875, 0.375, 0.5]]


def judgment(first: str, second: str, probability: float) -> dict[str, Any]:
    return {"first_id": first, "second_id": second, "probability": probability}


def test_orders_are_averaged_and_antisymmetric() -> None:
    """A judge that likes the first place by 0.2: P(a beats b) = (0.9 + 1 - 0.5) / 2 = 0.7."""
    rows = [judgment("a", "b", 0.9), judgment("b", "a", 0.5), judgment("c", "a", 1.0), judgment("b", "c", 0.25)]
    found = preference_matrix(rows, ["a", "b", "c"])
    assert found == pytest.approx(np.array([[0.5, 0.7, 0.0], [0.3, 0.5, 0.25], [1.0, 0.75, 0.5]]))
    assert (found + found.T == 1).all()
    rows.append(judgment("a", "b", 0.7))
    assert preference_matrix(rows, ["a", "b", "c"])[0, 1] == pytest.approx((0.8 + 0.5) / 2), (
        "the mean of an order first"
    )


def test_pairs_that_nobody_judged_and_no_probabilities() -> None:
    with pytest.raises(ValueError, match="no judgment of 'a' and 'c'"):
        preference_matrix([judgment("a", "b", 1.0)], ["a", "b", "c"])
    for bad in (1.1, -0.1, math.nan):
        with pytest.raises(ValueError, match="is no probability"):
            preference_matrix([judgment("a", "b", bad)], ["a", "b"])
    for bad in ([[0.5, 0.7], [0.4, 0.5]], [[0.5, 0.5]], [[0.6]], [[0.5, math.nan], [math.nan, 0.5]]):
        with pytest.raises(ValueError, match="preference matrix"):
            check_preferences(bad)


def test_order_flips() -> None:
    always_first = [judgment("a", "b", 0.9), judgment("b", "a", 0.8)]
    reads = [judgment("a", "c", 0.9), judgment("c", "a", 0.1)]
    assert order_flip_rate(always_first) == 1
    assert order_flip_rate(always_first + reads) == 0.5
    assert order_flip_rate([judgment("a", "b", 0.1), judgment("b", "a", 0.2)]) == 1, "always the second is a flip too"
    assert order_flip_rate([judgment("a", "b", 0.5), judgment("b", "a", 0.9)]) == 0
    assert order_flip_rate(always_first[:1]) is None


def test_win_rates_with_and_without_self() -> None:
    assert win_rates(CYCLE, include_self=True) == pytest.approx([1.375 / 3, 1.375 / 3, 1.75 / 3])
    assert win_rates(CYCLE, include_self=False) == pytest.approx([0.4375, 0.4375, 0.625])
    assert win_rates(np.triu(np.ones((5, 5)), 1) + np.eye(5) / 2, include_self=True) == pytest.approx(
        [0.9, 0.7, 0.5, 0.3, 0.1]
    )
    assert win_rates([[0.5]], include_self=True) == [0.5]
    with pytest.raises(ValueError, match="at least two"):
        win_rates([[0.5]], include_self=False)


def test_winner_and_loser() -> None:
    assert winner_loser([0.2, 0.7, 0.7, 0.2]) == (1, 0)
    assert winner_loser([0.5] * 5) is None
    assert winner_loser([0.1 + 0.2, 0.3]) is None, "equal but for rounding"
    assert winner_loser([1e9, 1e9 + 1]) == (1, 0)
    assert winner_loser([-3.0]) is None


def test_a_circle_of_logits_is_a_tie_in_every_order_of_summation() -> None:
    """Row sums 0.5 + s(1) + s(-1) in three different orders."""
    logits = [[0.0, 1.3, -1.3], [-1.3, 0.0, 1.3], [1.3, -1.3, 0.0]]
    for form in ("order_averaged", "order_difference", "official"):
        assert winner_loser(win_rates(pairrm_preferences(logits, form), include_self=True)) is None
    assert pairrm_preferences(logits, "official") == pytest.approx(np.full((3, 3), 0.5))
    assert cyclic_triads(pairrm_preferences(logits)) == (1, 1)


def test_extreme_logits() -> None:
    found = pairrm_preferences([[0.0, 2000.0], [-2000.0, 0.0]])
    assert found.tolist() == [[0.5, 1.0], [0.0, 0.5]]


def test_cyclic_triads() -> None:
    order = bradley_terry_preferences([3.0, 2.0, 1.0, 0.0])
    assert cyclic_triads(order) == (0, 4)
    assert cyclic_triads(np.full((4, 4), 0.5)) == (0, 4)
    assert cyclic_triads(CYCLE) == (1, 1)
    regular = np.full((5, 5), 0.5)  # everybody beats the two that follow: the most circles five can have
    for i in range(5):
        for step in (1, 2):
            regular[i, (i + step) % 5], regular[(i + step) % 5, i] = 1.0, 0.0
    assert cyclic_triads(regular) == (5, 10)
    assert cyclic_triads([[0.5]]) == (0, 0)


@given(st.lists(st.floats(-4, 4), min_size=2, max_size=6))
def test_bradley_terry_finds_its_own_rewards(rewards: list[float]) -> None:
    found = bradley_terry_rewards(bradley_terry_preferences(rewards))
    assert found == pytest.approx(np.array(rewards) - np.mean(rewards), abs=1e-6)


def test_bradley_terry_of_certain_wins_is_finite() -> None:
    order = np.triu(np.ones((4, 4)), 1) + np.eye(4) / 2
    found = bradley_terry_rewards(order)
    assert np.isfinite(found).all()
    assert (np.diff(found) < -1).all()
    fitted = bradley_terry_preferences(found)
    assert fitted.sum(1) == pytest.approx(np.clip(order, 1e-6, 1 - 1e-6).sum(1), abs=1e-9), "the likelihood's maximum"


def test_targets_and_advantages() -> None:
    """K = 5 in a strict order, eta = 1000: log Z is about 900 - ln 5, the paper's stand-in 500."""
    rates = np.array([0.9, 0.7, 0.5, 0.3, 0.1])
    assert sppo_targets(rates, 1000.0) == pytest.approx([400, 200, 0, -200, -400])
    exact = sppo_targets(rates, 1000.0, exact_normaliser=True)
    assert exact[0] == pytest.approx(math.log(5))
    assert np.exp(exact).mean() == pytest.approx(1), "the exact step is a distribution"
    leave_one_out = win_rates(CYCLE, include_self=False)
    assert rloo_advantages(leave_one_out) == pytest.approx((leave_one_out - 0.5) * 3 / 2)
    assert grpo_advantages([0.5] * 4).tolist() == [0.0] * 4
    assert grpo_advantages([1.0, 0.0], 0.0) == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
    for function in (rloo_advantages, grpo_advantages):
        with pytest.raises(ValueError, match="at least two"):
            function([1.0])
