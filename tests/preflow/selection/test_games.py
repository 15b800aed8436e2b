"""The game of a preference matrix, and the queue that plays against itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preflow.selection.games import duality_gap, kl_divergence, minimax_winners, policy_step, win_probability
from preflow.selection.queue import WinRateQueue

BIASED = [[0.5, 0.75, 0.125], [0.25, 0.5, 0.625], [0.875, 0.375, 0.5]]


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    size = draw(st.integers(1, 5))
    upper = np.array(draw(st.lists(st.sampled_from([0, 0.25, 0.5, 0.75, 1]), min_size=size**2, max_size=size**2)))
    upper = np.triu(upper.reshape(size, size), 1)
    return upper + np.tril(1 - upper.T, -1) + np.eye(size) / 2


@given(matrices())
@settings(deadline=None)
def test_a_solution_is_never_beaten(matrix: np.ndarray) -> None:
    winners = minimax_winners(matrix)
    assert winners
    for winner in winners:
        assert winner.sum() == pytest.approx(1)
        assert winner.min() >= 0
        assert duality_gap(matrix, winner) == pytest.approx(0, abs=1e-8)


def test_the_biased_circle() -> None:
    """Nash (1/6, 1/2, 1/3); the pure policy that a Bradley-Terry reward ends in loses a quarter."""
    (winner,) = minimax_winners(BIASED)
    assert winner == pytest.approx([1 / 6, 1 / 2, 1 / 3])
    assert duality_gap(BIASED, [0, 0, 1]) == pytest.approx(0.25)
    assert len(minimax_winners(np.full((4, 4), 0.5))) == 4, "ties all round: every candidate alone"
    with pytest.raises(ValueError, match="at most 16"):
        minimax_winners(np.full((17, 17), 0.5))


@given(matrices(), st.floats(0.01, 10))
def test_a_step_wins_against_where_it_came_from(matrix: np.ndarray, beta: float) -> None:
    """DNO: P(new beats old) >= 1/2 + beta * KL(new || old)."""
    start = np.full(len(matrix), 1 / len(matrix))
    step = policy_step(matrix, start, beta)
    assert step.sum() == pytest.approx(1)
    assert win_probability(matrix, step, start) >= 0.5 + beta * kl_divergence(step, start) - 1e-9


def test_a_step_with_a_tiny_temperature_and_kl_of_what_is_not_there() -> None:
    assert policy_step(BIASED, [1 / 3] * 3, 1e-9).tolist() == [0, 0, 1]
    assert kl_divergence([1, 0], [0.5, 0.5]) == pytest.approx(np.log(2))
    assert kl_divergence([0.5, 0.5], [1, 0]) == np.inf


def test_queue_is_asked_before_the_push() -> None:
    queue = WinRateQueue([0, 1], size=2)
    preference = lambda new, old: BIASED[new][old]  # noqa: E731
    assert queue.reward(2, preference, signed=True) == pytest.approx(2 * (0.875 + 0.375) / 2 - 1)
    assert queue.items == [1, 2]
    assert queue.reward(2, preference) == pytest.approx((0.375 + 0.5) / 2)
    assert queue.items == [2, 2]
    growing = WinRateQueue([0], size=3)
    growing.reward(1, preference)
    assert growing.items == [0, 1]
    for items, size in (([], 2), ([1, 2, 3], 2)):
        with pytest.raises(ValueError, match="starts with"):
            WinRateQueue(items, size)
