"""The role `best`: which candidate a regulariser keeps likely, from the pairs that its prompt has."""

from typing import Any

import numpy as np
import pytest

from preflow.settings.losses.reference_free import SLiCLoss
from preflow.training.loading import BEST, add_best
from preflow.training.objectives import bind_terms
from preflow.training.streams import SequenceStore, Stream


def stream_of_pairs(pairs: list[tuple[str, int, int]], scores: list[float] | None = None) -> Stream:
    """(prompt, chosen, rejected): candidates are numbers of one token."""
    store = SequenceStore()
    prompts = {name: [1, place] for place, name in enumerate(dict.fromkeys(prompt for prompt, _, _ in pairs))}
    roles: dict[str, list[int]] = {"chosen": [], "rejected": []}
    for prompt, chosen, rejected in pairs:
        roles["chosen"].append(store.add(prompts[prompt], [chosen]))
        roles["rejected"].append(store.add(prompts[prompt], [rejected]))
    columns: dict[str, Any] = {"chosen_scores": np.array(scores)} if scores else {}
    count = len(pairs)
    arrays = {name: np.array(each) for name, each in roles.items()}
    ids = [str(number) for number in range(count)]
    return Stream(
        store, ids, [prompt for prompt, _, _ in pairs], arrays, np.ones(count), np.ones(count), columns=columns
    )


def best_of(stream: Stream) -> list[int]:
    add_best(stream)
    return [int(stream.store.completions[int(number)][0]) for number in stream.roles[BEST]]


TOURNAMENT = [("a", 10, 11), ("a", 12, 13), ("a", 10, 12), ("b", 20, 21), ("b", 23, 22), ("b", 20, 23)]


def test_a_tournaments_winner_is_nobodys_loser() -> None:
    assert best_of(stream_of_pairs(TOURNAMENT)) == [10, 10, 10, 20, 20, 20]


def test_scores_decide_where_there_are_some() -> None:
    assert best_of(stream_of_pairs([("a", 10, 11), ("a", 12, 11), ("b", 20, 21)], [1.0, 3.0, 2.0])) == [12, 12, 20]


def test_without_either_a_pair_keeps_its_own() -> None:
    assert best_of(stream_of_pairs([("a", 10, 11), ("a", 12, 13)])) == [10, 12]


def test_slic_names_the_role_that_it_keeps_likely() -> None:
    for target, role, stream in (
        ("chosen", "chosen", "data"),
        ("best", "best", "data"),
        ("targets", "completion", "companion"),
    ):
        loss = SLiCLoss(regularization=0.2, target=target)
        calibration, nll = bind_terms(loss.terms())
        assert (nll.term.roles, nll.term.stream, nll.term.coefficient) == ({"target": role}, stream, 0.2)
        assert calibration.term.arguments == {"delta": 1.0}
        assert not loss.needs_reference
        assert loss.needs_companion == (target == "targets")
    assert SLiCLoss().beta_equivalent == pytest.approx(1.0)
