"""The game that a preference matrix P is: exact steps, its solution, and how far a policy is from it.

A policy is a distribution [K] over the candidates of one prompt. The solution (minimax winner, von Neumann winner) is
never beaten more often than not: Swamy et al. 2024, arXiv 2401.04056; Rosset et al. 2024, arXiv 2404.03715.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preflow.selection.win_rates import check_preferences

Vector = NDArray[np.float64]
TOLERANCE = 1e-9
MAX_CANDIDATES = 16  # 2^16 supports are tried, each a small linear system


def policy_step(matrix: ArrayLike, policy: ArrayLike, beta: float) -> Vector:
    """pi_{t+1} proportional to pi_t * exp(w / beta), w the win rate against pi_t: soft policy iteration, exactly.

    `beta` is DNO's and SPO's eta, which divides the reward; SPPO's eta multiplies it, beta = 1 / eta.
    """
    current = np.asarray(policy, dtype=np.float64)
    scaled = check_preferences(matrix) @ current / beta
    weights = current * np.exp(scaled - scaled.max())
    return weights / weights.sum()


def win_probability(matrix: ArrayLike, policy: ArrayLike, opponent: ArrayLike) -> float:
    """P(a sample of `policy` beats one of `opponent`), in [0, 1]."""
    return float(np.asarray(policy, dtype=np.float64) @ check_preferences(matrix) @ np.asarray(opponent, np.float64))


def kl_divergence(policy: ArrayLike, reference: ArrayLike) -> float:
    """KL(policy || reference) of two distributions, nats."""
    p, q = np.asarray(policy, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    seen = p > 0
    with np.errstate(divide="ignore"):
        return float((p[seen] * (np.log(p[seen]) - np.log(q[seen]))).sum())


def duality_gap(matrix: ArrayLike, policy: ArrayLike) -> float:
    """How much the best answer to `policy` gains over it: 2 max_i P(i beats policy) - 1, in [0, 1]; 0 at the solution."""
    found = check_preferences(matrix) @ np.asarray(policy, dtype=np.float64)
    return float(2 * found.max() - 1)


def minimax_winners(matrix: ArrayLike) -> list[Vector]:
    """The solutions with the fewest candidates, in lexicographic order of their supports; never empty.

    A solution makes every candidate of its support win exactly half, and no other more: a linear system per support.

    >>> [winner.round(6).tolist() for winner in minimax_winners([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]])]
    [[0.333333, 0.333333, 0.333333]]
    """
    found = check_preferences(matrix)
    if len(found) > MAX_CANDIDATES:
        raise ValueError(f"{len(found)} candidates: every support is tried, so at most {MAX_CANDIDATES} are solved")
    for size in range(1, len(found) + 1):
        winners = list(_winners_of_size(found, size))
        if winners:
            return winners
    raise AssertionError("a finite game has a solution")


def _winners_of_size(matrix: Vector, size: int) -> Iterator[Vector]:
    for support in combinations(range(len(matrix)), size):
        inside = matrix[np.ix_(support, support)]
        system = np.vstack([inside, np.ones(size)])
        mixture = np.linalg.lstsq(system, np.append(np.full(size, 0.5), 1.0), rcond=None)[0]
        policy = np.zeros(len(matrix))
        policy[list(support)] = mixture
        won = matrix @ policy
        solves = np.abs(won[list(support)] - 0.5).max() < TOLERANCE and abs(mixture.sum() - 1) < TOLERANCE
        if solves and mixture.min() > TOLERANCE and won.max() <= 0.5 + TOLERANCE:
            yield policy
