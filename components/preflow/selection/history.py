"""Pairs of earlier rounds that a round trains on again (Rosset et al. 2024, arXiv 2404.03715, section 5.1)."""

import math
from collections.abc import Sequence
from fractions import Fraction

from preflow.artifacts.draws import generator


def history_counts(pairs_per_round: Sequence[int], newest_share: float = 0.3, decay: float = 0.5) -> list[int]:
    """How many pairs of the previous round, of the one before, ... are added to the last round of `pairs_per_round`.

    At most `newest_share` of the pairs that the previous round built, and `decay` times that share for every round
    further back; rounded down. The paper can also be read as a share of the new mixture; this is the share of each
    round's own pairs.

    >>> history_counts([30700, 46200, 95300])
    [13860, 4605]
    """
    # As decimals, not as binary fractions: 30 % of 10 pairs are three, whatever the rounding of 0.3.
    share, factor = Fraction(str(newest_share)), Fraction(str(decay))
    if not (0 <= share <= 1 and 0 <= factor <= 1):
        raise ValueError(f"shares must lie in [0, 1], got newest_share {newest_share} and decay {decay}")
    earlier = reversed(pairs_per_round[:-1])
    return [math.floor(share * factor**age * count) for age, count in enumerate(earlier)]


def draw_history(pair_ids: Sequence[str], count: int, *key: int | str) -> list[str]:
    """`count` of `pair_ids` without replacement, in their order; the draw hangs on `key` and the set of ids alone.

    Raises ValueError where ids repeat or there are fewer than `count`.
    """
    pool = sorted(set(pair_ids))
    if len(pool) < len(pair_ids) or not 0 <= count <= len(pool):
        raise ValueError(f"cannot draw {count} of {len(pair_ids)} pairs, {len(pool)} of them different")
    picks = generator("history", *key).choice(len(pool), size=count, replace=False) if count else ()
    drawn = {pool[pick] for pick in picks}
    return [each for each in pair_ids if each in drawn]
