"""Which candidates of a prompt are kept: statistical rejection sampling, or the best of n.

Liu et al. 2024, arXiv 2309.06657, algorithm 1 and appendix A.10.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Accepted:
    """`indices` in the order of acceptance, the `rounds` they were accepted in (from 0), how many uniforms were used,
    and whether the pool ran empty before enough were accepted."""

    indices: tuple[int, ...]
    rounds: tuple[int, ...]
    uniforms_consumed: int
    pool_exhausted: bool


def statistical_rejection_sample(
    scores: Sequence[float], num_accepted: int, temperature: float, uniforms: Iterator[float]
) -> Accepted:
    """Thin candidates so that the accepted ones follow pi_sft * exp(score / temperature).

    Each round visits the pool in the order of `scores` (the order of sampling: the law is not exchangeable, so never
    sort it), accepting a candidate with probability exp((score - max) / temperature); the accepted ones leave the pool
    at the round's end. The pool's maximum is always accepted, so a round takes at least one.

    Args:
        scores: one finite number per candidate, in sampling order.
        num_accepted: k > 0; fewer are returned if the pool runs empty.
        temperature: the paper's beta, in the scores' unit; 0 is its limit, the k best.
        uniforms: numbers in [0, 1), one for each candidate visited.
    Raises:
        ValueError: for a score that is not finite (a NaN would be accepted), k < 1, or a negative temperature.
    """
    _check(scores, num_accepted, temperature)
    pool = list(range(len(scores)))
    indices: list[int] = []
    rounds: list[int] = []
    consumed, turn = 0, 0
    while pool and len(indices) < num_accepted:
        highest = max(scores[index] for index in pool)
        taken = set()
        for index in pool:
            consumed += 1
            if next(uniforms) >= _weight(scores[index] - highest, temperature):
                continue
            taken.add(index)
            indices.append(index)
            rounds.append(turn)
            if len(indices) == num_accepted:
                break
        pool = [index for index in pool if index not in taken]
        turn += 1
    return Accepted(tuple(indices), tuple(rounds), consumed, len(indices) < num_accepted)


def _weight(below_highest: float, temperature: float) -> float:
    """The acceptance probability; at temperature 0, where the published listing divides by zero, its limit."""
    if temperature == 0:
        return 1.0 if below_highest == 0 else 0.0
    return math.exp(below_highest / temperature)


def best_of_n(scores: Sequence[float], num_accepted: int) -> Accepted:
    """The highest scores, best first; among equals the earlier sample."""
    _check(scores, num_accepted, 0.0)
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[:num_accepted]
    return Accepted(tuple(order), (0,) * len(order), 0, len(order) < num_accepted)


def _check(scores: Sequence[float], num_accepted: int, temperature: float) -> None:
    bad = [index for index, score in enumerate(scores) if not math.isfinite(score)]
    if bad:
        raise ValueError(f"score {scores[bad[0]]} of candidate {bad[0]} is not finite")
    if num_accepted < 1 or not temperature >= 0:
        raise ValueError(
            f"num_accepted must be at least 1 and temperature at least 0, got {num_accepted} and {temperature}"
        )
