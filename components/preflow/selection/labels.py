"""Labelled completions (desirable or not) from pairs or scores, and the order in which they are trained on.

Ethayarajh et al. 2024, arXiv 2402.01306 (KTO): a pair gives a desirable and an undesirable completion; scores are cut
at a threshold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal

from preflow.artifacts.draws import generator


@dataclass(frozen=True)
class Labels:
    """`desirable` by completion id; `contradicted` are completions with as many votes for as against them: no label."""

    desirable: dict[str, bool]
    contradicted: tuple[str, ...]


def labels_from_pairs(pairs: Iterable[Mapping[str, Any]]) -> Labels:
    """Labels from rows of pairs/v1: every pair is `weight` votes, of which the share `preference` is for its chosen side.

    A completion of several pairs (of a tournament, say) gets the label of the majority of its votes, once.

    >>> labels_from_pairs([{"chosen_id": "a", "rejected_id": "b", "preference": 1.0, "weight": 1.0}]).desirable
    {'a': True, 'b': False}
    """
    lead: dict[str, float] = {}
    for pair in pairs:
        votes = pair["weight"] * (2 * pair["preference"] - 1)
        lead[pair["chosen_id"]] = lead.get(pair["chosen_id"], 0.0) + votes
        lead[pair["rejected_id"]] = lead.get(pair["rejected_id"], 0.0) - votes
    labels = {completion: votes > 0 for completion, votes in lead.items() if votes != 0}
    return Labels(labels, tuple(completion for completion, votes in lead.items() if votes == 0))


def labels_from_scores(scores: Sequence[float], threshold: float | Literal["mean", "median"]) -> list[bool]:
    """Desirable where the score exceeds the threshold: a constant, or the mean or median of these scores.

    The mean is the rule of the KTO baseline in Richemond et al. 2024 (arXiv 2405.19107, DRO, per minibatch there). A
    score at the threshold is undesirable.

    >>> labels_from_scores([1.0, 2.0, 6.0], "mean"), labels_from_scores([1.0, 2.0, 6.0], "median")
    ([False, False, True], [False, False, True])
    """
    if not scores:
        return []
    cut = fmean(scores) if threshold == "mean" else median(scores) if threshold == "median" else threshold
    return [score > cut for score in scores]


def shuffled(ids: Sequence[str], *key: int | str) -> list[int]:
    """Positions in a random order that hangs on `key` and the set of ids alone, not on how they were given.

    Rows in the order of their file come label by label (all chosen texts, then all rejected ones), so that whole batches
    have one label; shuffled, every batch has a sample of both.
    """
    by_id = sorted(range(len(ids)), key=lambda position: ids[position])
    return [by_id[place] for place in generator("order", *key).permutation(len(ids))]


def one_per_prompt(prompt_ids: Sequence[str], ids: Sequence[str], *key: int | str) -> list[int]:
    """The position of one random row of every prompt, rising (KTO's "one y per x"); as `shuffled`, a function of `key`."""
    first: dict[str, int] = {}
    for position in shuffled(ids, *key):
        first.setdefault(prompt_ids[position], position)
    return sorted(first.values())
