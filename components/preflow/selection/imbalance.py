"""Weights of desirable and undesirable completions, where one kind is rarer.

Ethayarajh et al. 2024, arXiv 2402.01306 (KTO): fix one weight at 1 and choose the other so that

    1 <= desirable_weight * desirable / (undesirable_weight * undesirable) <= upper

with upper = 4/3 in version 1 (equation 8; TRL warns by it) and 3/2 in the current version.
"""

from dataclasses import dataclass

UPPER_VERSION_1 = 4 / 3
UPPER_CURRENT = 3 / 2
Interval = tuple[float, float]


@dataclass(frozen=True)
class WeightIntervals:
    """`desirable_weight` where the other is 1, and `undesirable_weight` where the other is 1: (lowest, highest)."""

    desirable_weight: Interval
    undesirable_weight: Interval


def weight_intervals(desirable: int, undesirable: int, upper: float = UPPER_VERSION_1) -> WeightIntervals:
    """What the rule allows for these counts. Raises ValueError where a kind is missing: no weight makes up for that.

    >>> weight_intervals(10, 100, upper=1.5).desirable_weight
    (10.0, 15.0)
    """
    if desirable < 1 or undesirable < 1:
        raise ValueError(
            f"{desirable} desirable and {undesirable} undesirable completions; expected at least one of each"
        )
    ratio = undesirable / desirable
    return WeightIntervals((ratio, upper * ratio), (1 / (upper * ratio), 1 / ratio))


def weights_fit(
    desirable: int,
    undesirable: int,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    upper: float = UPPER_VERSION_1,
) -> bool:
    """Whether these weights keep the rule.

    >>> weights_fit(100, 100), weights_fit(10, 100), weights_fit(10, 100, desirable_weight=12.0)
    (True, False, True)
    """
    lowest, highest = weight_intervals(desirable, undesirable, upper).desirable_weight
    return lowest <= desirable_weight / undesirable_weight <= highest
