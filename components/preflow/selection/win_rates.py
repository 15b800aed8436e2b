"""From ordered judgments to preference matrices, win rates and the pair of a prompt.

P[i][j] is the probability that candidate i beats candidate j: P + P^T = 1, 1/2 on the diagonal. Judges have a taste for
the first or the second place, so P is the mean over both orders (Wu et al. 2024, arXiv 2405.00675, SPPO).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]
PairRMForm = Literal["order_averaged", "order_difference", "official"]
ROUNDING = 1e-12  # win rates closer than this are equal: sums in another order differ in the last digits


def preference_matrix(judgments: Iterable[Mapping[str, Any]], ids: Sequence[str]) -> Matrix:
    """P [K, K] of the candidates `ids` of one prompt, from its rows of judgments/v1.

    P[i][j] = (P(i wins | i first) + 1 - P(j wins | j first)) / 2, or the one order that was asked. Several answers to a
    question count as their mean. Raises ValueError for a pair that nobody judged, or a number that is no probability.

    >>> rows = [{"first_id": "a", "second_id": "b", "probability": 0.8},
    ...         {"first_id": "b", "second_id": "a", "probability": 0.4}]
    >>> preference_matrix(rows, ["a", "b"]).round(6).tolist()
    [[0.5, 0.7], [0.3, 0.5]]
    """
    answers = _answers(judgments)
    matrix = np.full((len(ids), len(ids)), 0.5)
    for i, first in enumerate(ids):
        for j in range(i + 1, len(ids)):
            second = ids[j]
            forward, backward = answers.get((first, second)), answers.get((second, first))
            orders = ([_mean(forward)] if forward else []) + ([1 - _mean(backward)] if backward else [])
            if not orders:
                raise ValueError(f"no judgment of {first!r} and {second!r}: a matrix needs all pairs of a prompt")
            matrix[i, j] = _mean(orders)
            matrix[j, i] = 1 - matrix[i, j]
    return matrix


def order_flip_rate(judgments: Iterable[Mapping[str, Any]]) -> float | None:
    """Of the pairs asked in both orders, the share where the same place won both times; None where there is none.

    0 for a judge that reads, 1 for one that always names the first. An undecided answer (1/2) is no flip.
    """
    answers = _answers(judgments)
    both = [
        (_mean(forward) - 0.5) * (_mean(answers[second, first]) - 0.5)
        for (first, second), forward in answers.items()
        if first < second and (second, first) in answers
    ]
    return sum(product > 0 for product in both) / len(both) if both else None


def _answers(judgments: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in judgments:
        if not 0 <= row["probability"] <= 1:
            raise ValueError(
                f"{row['first_id']!r} against {row['second_id']!r}: {row['probability']} is no probability"
            )
        found.setdefault((row["first_id"], row["second_id"]), []).append(row["probability"])
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def check_preferences(matrix: ArrayLike) -> Matrix:
    """The matrix as float64. Raises ValueError unless it is square, in [0, 1], with P + P^T = 1."""
    found = np.asarray(matrix, dtype=np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1]:
        raise ValueError(f"a preference matrix is square, got shape {found.shape}")
    if not ((found >= 0) & (found <= 1)).all() or not np.allclose(found + found.T, 1, rtol=0, atol=1e-6):
        raise ValueError("a preference matrix has entries in [0, 1], P + P^T = 1 and 1/2 on the diagonal")
    return found


def win_rates(matrix: ArrayLike, *, include_self: bool) -> Matrix:
    """[K] the mean of P[i][j] over the opponents j, in [0, 1].

    `include_self` counts j = i, as a half: SPPO's estimate (section 4.3), which lies in [0.1, 0.9] for K = 5. Without it,
    the leave-one-out mean of DNO (arXiv 2404.03715, algorithm 2) and SPO, which needs K > 1.

    >>> win_rates([[0.5, 0.75], [0.25, 0.5]], include_self=True).tolist()
    [0.625, 0.375]
    """
    found = check_preferences(matrix)
    if include_self:
        return found.mean(1)
    return (found.sum(1) - found.diagonal()) / (_at_least_two(len(found)) - 1)


def winner_loser(values: Sequence[float] | Matrix) -> tuple[int, int] | None:
    """(highest, lowest) of win rates or mean scores; among equals the earliest. None where all are equal: no pair.

    >>> winner_loser([0.4, 0.7, 0.1, 0.1]), winner_loser([0.5, 0.5])
    ((1, 2), None)
    """
    found = np.asarray(values, dtype=np.float64)
    highest, lowest = found.max(), found.min()
    slack = ROUNDING * max(1.0, abs(highest), abs(lowest))
    if highest - lowest <= slack:
        return None
    return int(np.argmax(found >= highest - slack)), int(np.argmax(found <= lowest + slack))


def cyclic_triads(matrix: ArrayLike) -> tuple[int, int]:
    """(how many of the triples of candidates beat each other in a circle, how many triples there are).

    No scalar score orders a circle. A tie is nobody's win.
    """
    found = check_preferences(matrix)
    beats = (found > 0.5 + ROUNDING).astype(np.int64)
    # The trace of beats^3 counts every directed circle of three from each of its three members.
    return int(np.trace(beats @ beats @ beats)) // 3, math.comb(len(found), 3)


def pairrm_scores(logits: ArrayLike) -> Matrix:
    """[K] mean over j of L[i][j] - L[j][i], where L[i][j] is the logit with i shown first and the diagonal is 0.

    Twice the paper's mean relative score, so the same winner and loser (SPPO, section 5.1; `blender.rank`).
    """
    found = np.asarray(logits, dtype=np.float64)
    return (found - found.T).mean(1)


def pairrm_preferences(logits: ArrayLike, form: PairRMForm = "order_averaged") -> Matrix:
    """P [K, K] from the logits of a pairwise ranker in all orders.

    order_averaged: sigmoid((L[i][j] - L[j][i]) / 2), the paper's. order_difference: without the halving. official: what
    the published code does (uclaml/SPPO, issue 15): Bradley-Terry on `pairrm_scores`, which turns a circle into ties.
    """
    found = np.asarray(logits, dtype=np.float64)
    if form == "official":
        return bradley_terry_preferences(pairrm_scores(found))
    difference = found - found.T
    return _sigmoid(difference / 2 if form == "order_averaged" else difference)


def bradley_terry_preferences(rewards: Sequence[float] | Matrix) -> Matrix:
    """P[i][j] = sigmoid(r_i - r_j) of rewards in log-odds: what is left of preferences in a scalar."""
    found = np.asarray(rewards, dtype=np.float64)
    return _sigmoid(found[:, None] - found[None, :])


def bradley_terry_rewards(matrix: ArrayLike, clip: float = 1e-6) -> Matrix:
    """[K] the maximum-likelihood Bradley-Terry rewards of P, log-odds with mean 0: its collapse to a scalar.

    P is clipped to [clip, 1 - clip]: certain wins have no finite rewards. Newton's method on a concave likelihood.

    >>> bradley_terry_rewards([[0.5, 0.75, 0.125], [0.25, 0.5, 0.625], [0.875, 0.375, 0.5]]).round(2).tolist()
    [-0.17, -0.17, 0.34]
    """
    found = np.clip(check_preferences(matrix), clip, 1 - clip)
    rewards = np.zeros(len(found))
    for _ in range(200):
        fitted = bradley_terry_preferences(rewards)
        gradient = (found - fitted).sum(1)
        if np.abs(gradient).max() < 1e-13 * len(found):
            break
        information = -fitted * (1 - fitted)
        np.fill_diagonal(information, 0)
        np.fill_diagonal(information, -information.sum(1))
        step = np.linalg.pinv(information) @ gradient
        rewards += step * min(1.0, 1 / np.abs(step).max())  # a full step can overshoot where wins are nearly certain
    return rewards - rewards.mean()


def _sigmoid(logits: Matrix) -> Matrix:
    return np.exp(-np.logaddexp(0, -logits))


def _at_least_two(candidates: int) -> int:
    if candidates < 2:
        raise ValueError("one candidate has nobody to be compared with: expected at least two per prompt")
    return candidates
