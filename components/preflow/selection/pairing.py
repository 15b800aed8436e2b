"""How the candidates of a prompt become pairs. Pure functions of scores; indices are (chosen, rejected)."""

from collections.abc import Sequence

IndexPair = tuple[int, int]


def first_round(scores: Sequence[float], order: Sequence[int]) -> list[IndexPair]:
    """Disjoint neighbours of `order`, the higher score chosen: k candidates give k // 2 pairs (RSO, section 3.3).

    Acceptance order goes along with the score (later rounds hold lower ones), so `order` should be a shuffle.

    >>> first_round([0.1, 0.9, 0.4, 0.3], [0, 1, 2, 3])
    [(1, 0), (2, 3)]
    """
    return [_ordered(scores, first, second) for first, second in zip(order[::2], order[1::2], strict=False)]


def best_worst(scores: Sequence[float], order: Sequence[int]) -> list[IndexPair]:
    """The highest against the lowest score; among equals the earlier in `order`.

    >>> best_worst([0.1, 0.9, 0.4], [0, 1, 2])
    [(1, 0)]
    """
    if len(order) < 2:
        return []
    best = max(order, key=lambda index: scores[index])
    return [(best, min((index for index in order if index != best), key=lambda index: scores[index]))]


def _ordered(scores: Sequence[float], first: int, second: int) -> IndexPair:
    return (first, second) if scores[first] >= scores[second] else (second, first)


RULES = {"first_round": first_round, "best_worst": best_worst}
