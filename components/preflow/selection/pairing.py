"""How the candidates of a prompt become pairs. Pure functions of scores; indices are (chosen, rejected)."""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

IndexPair = tuple[int, int]
PairKind = Literal["S>S", "S>T", "T>S"]


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


def all_pairs(scores: Sequence[float], order: Sequence[int], min_margin: float = 0.0) -> list[IndexPair]:
    """Every pair whose scores differ by more than `min_margin`, in the order of `order`.

    >>> all_pairs([1.0, 3.0, 2.5], [0, 1, 2], min_margin=1.0)
    [(1, 0), (2, 0)]
    """
    pairs = (_ordered(scores, first, second) for first, second in combinations(order, 2))
    return [(chosen, rejected) for chosen, rejected in pairs if scores[chosen] - scores[rejected] > min_margin]


def random_pairs(
    scores: Sequence[float], order: Sequence[int], num_pairs: int, generator: np.random.Generator
) -> list[IndexPair]:
    """`num_pairs` different pairs out of all k(k-1)/2, drawn without replacement, the higher score chosen.

    SLiC-HF (arXiv 2305.10425, sample and rank with a pointwise reward) draws m pairs of m candidates. Fewer where there
    are fewer. Pairs of equal scores are drawn like any other: what becomes of ties is the caller's rule.
    """
    pairs = list(combinations(order, 2))
    picks = generator.choice(len(pairs), size=min(num_pairs, len(pairs)), replace=False) if pairs else ()
    return [_ordered(scores, *pairs[pick]) for pick in picks]


class SourcedPair(NamedTuple):
    """A pair whose sides are samples of the student (S) or the teacher's answer (T)."""

    chosen: int
    rejected: int
    kind: PairKind


def dno_pairs(
    scores: Sequence[float],
    flagged: Sequence[bool],
    teacher: int | None,
    *,
    min_positive_score: float = 5.0,
    teacher_margin: float = 2.0,
    student_margin: float = 1.0,
    flagged_score: float = 0.0,
) -> list[SourcedPair]:
    """Every pair with a good positive and a large enough gap (Rosset et al. 2024, arXiv 2404.03715, section 5.1).

    A positive reaches `min_positive_score` and is not flagged; its lead is at least `teacher_margin` where it is the
    teacher's answer, else `student_margin`. Flagged samples (heavy repetition) are automatic negatives: the paper does
    not say whether they need a gap, so they count as `flagged_score`, below its rubric of 1 to 6.

    >>> dno_pairs([6, 5, 3], [False, False, False], teacher=2)
    [SourcedPair(chosen=0, rejected=1, kind='S>S'), SourcedPair(chosen=0, rejected=2, kind='S>T'), \
SourcedPair(chosen=1, rejected=2, kind='S>T')]
    """
    seen = [flagged_score if bad else score for score, bad in zip(scores, flagged, strict=True)]
    return [
        SourcedPair(chosen, rejected, _kind(chosen, rejected, teacher))
        for chosen, score in enumerate(seen)
        if score >= min_positive_score and not flagged[chosen]
        for rejected, other in enumerate(seen)
        if chosen != rejected and score - other >= (teacher_margin if chosen == teacher else student_margin)
    ]


def _kind(chosen: int, rejected: int, teacher: int | None) -> PairKind:
    if chosen == teacher:
        return "T>S"
    return "S>T" if rejected == teacher else "S>S"


def _ordered(scores: Sequence[float], first: int, second: int) -> IndexPair:
    return (first, second) if scores[first] >= scores[second] else (second, first)
