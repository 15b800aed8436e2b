"""From what is known about the candidates of a prompt (scores, or judgments of some pairs) to numbers per candidate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from preflow.selection.pointwise import pointwise_reward
from preflow.selection.win_rates import Matrix, bradley_terry_preferences, check_preferences

LOG_ODDS = "log_odds"
CLIP = 1e-6


def score_preferences(scores: Sequence[float] | Matrix, unit: str) -> Matrix:
    """P [K, K] of scored candidates: sigmoid(s_i - s_j) for scores in log-odds, else 1 for the higher score, 1/2 for a tie.

    A raw score says who is better, not how often: its unit is anybody's.

    >>> score_preferences([3.0, 1.0, 1.0], "raw").tolist()
    [[0.5, 1.0, 1.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]
    """
    if unit == LOG_ODDS:
        return bradley_terry_preferences(scores)
    found = np.asarray(scores, dtype=np.float64)
    return (1 + np.sign(found[:, None] - found[None, :])) / 2


def mean_log_odds(matrix: ArrayLike, clip: float = CLIP) -> Matrix:
    """[K] the mean over the opponents j, itself included, of log(P / (1 - P)): the paper's mean relative score of a ranker
    whose logits P comes from (Wu et al. 2024, arXiv 2405.00675, section 5.1). P is clipped to [clip, 1 - clip].

    >>> mean_log_odds([[0.5, 0.75], [0.25, 0.5]]).round(4).tolist()
    [0.5493, -0.5493]
    """
    found = np.clip(check_preferences(matrix), clip, 1 - clip)
    return (np.log(found) - np.log1p(-found)).mean(1)


def match_probabilities(judgments: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """(first, second) -> P(first wins) without the taste for a place, of every pair that was judged, in judging order.

    Each pair stands once, under the order in which it was asked first.

    >>> rows = [{"first_id": "a", "second_id": "b", "probability": 0.8},
    ...         {"first_id": "b", "second_id": "a", "probability": 0.4}]
    >>> {pair: round(p, 6) for pair, p in match_probabilities(rows).items()}
    {('a', 'b'): 0.7}
    """
    answers: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for row in judgments:
        pair = row["first_id"], row["second_id"]
        swapped = pair[::-1] in answers
        answers.setdefault(pair[::-1] if swapped else pair, ([], []))[swapped].append(row["probability"])
    found = {}
    for pair, (forward, backward) in answers.items():
        orders = ([fmean(forward)] if forward else []) + ([1 - fmean(backward)] if backward else [])
        found[pair] = fmean(orders)
    return found


def baseline_scores(judgments: Iterable[Mapping[str, Any]], ids: Sequence[str], clip: float = CLIP) -> list[float]:
    """[K] log-odds of winning against the one candidate that all others were judged against; its own score is 0.

    Liu et al. 2024, arXiv 2309.06657, section 3.2. Raises ValueError where the judgments have no such candidate.
    """
    matches = match_probabilities(judgments)
    in_all = [each for each in ids if all(each in pair for pair in matches)]
    if len(matches) != len(ids) - 1 or not in_all:
        raise ValueError(f"{len(matches)} judged pairs of {len(ids)} candidates are not all against one of them")
    baseline = in_all[0]
    scores = dict.fromkeys(ids, math.nan) | {baseline: 0.0}
    for (first, second), probability in matches.items():
        other, wins = (first, probability) if second == baseline else (second, 1 - probability)
        scores[other] = pointwise_reward(wins, clip)
    if any(math.isnan(score) for score in scores.values()):
        raise ValueError("judged pairs are of other candidates than these")
    return [scores[each] for each in ids]
