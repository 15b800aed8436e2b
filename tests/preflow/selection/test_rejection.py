"""Rejection sampling: what is refused, ties. Its vectors and its law stand in tests/losses."""

import math

import pytest

from preflow.selection.pairing import best_worst
from preflow.selection.rejection import best_of_n, statistical_rejection_sample


def test_bad_scores_and_sizes_are_refused() -> None:
    for scores, k, temperature in [([math.nan, 1.0], 1, 0.5), ([math.inf], 1, 0.5), ([1.0], 0, 0.5), ([1.0], 1, -1.0)]:
        with pytest.raises(ValueError, match=r"finite|at least"):
            statistical_rejection_sample(scores, k, temperature, iter([0.0] * 9))


def test_best_of_n_keeps_ties_in_order() -> None:
    assert best_of_n([0.1, 0.9, 0.9, 0.5], 3).indices == (1, 2, 3)


def test_best_worst() -> None:
    assert best_worst([0.2, 0.9, -1.0, 0.9], [0, 1, 2, 3]) == [(1, 2)]
    assert best_worst([0.2], [0]) == []
