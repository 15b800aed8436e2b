"""From probabilities of winning to pointwise rewards (Liu et al. 2024, arXiv 2309.06657, section 3.2)."""

import math


def order_average(first_wins: float, first_wins_swapped: float) -> float:
    """P(a beats b) without the judge's taste for a place.

    `first_wins` is P(first wins) with a shown first, `first_wins_swapped` the same with b shown first.

    >>> round(order_average(0.8, 0.4), 12)
    0.7
    """
    return 0.5 * (first_wins + 1 - first_wins_swapped)


def pointwise_reward(probability: float, clip: float = 1e-6) -> float:
    """log(p / (1 - p)) of winning against the prompt's baseline, in log-odds; the baseline itself has 0.

    A saturated judge would give infinite rewards, so p is clipped to [clip, 1 - clip]: |reward| <= 13.8155 at 1e-6.

    >>> round(pointwise_reward(0.9), 6), round(pointwise_reward(1.0), 4)
    (2.197225, 13.8155)
    """
    if not 0 <= probability <= 1 or not 0 < clip < 0.5:
        raise ValueError(f"expected a probability in [0, 1] and a clip in (0, 0.5), got {probability} and {clip}")
    clipped = min(max(probability, clip), 1 - clip)
    return math.log(clipped / (1 - clipped))
