"""How candidates become pairs: tournaments, random pairs, margins, DNO's rule."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflow.artifacts.draws import generator
from preflow.selection.pairing import all_pairs, dno_pairs, random_pairs
from preflow.selection.tournament import Tournament, play_tournament, tournament

SCORES = [0.1, 0.9, 0.4, 0.3, 0.8]


@given(st.permutations(range(9)), st.integers(0, 9))
def test_a_tournament_of_any_size(order: list[int], size: int) -> None:
    """k - 1 pairs; everybody but the winner loses exactly once; the best score wins."""
    order = order[:size]
    pairs = tournament(list(range(9)), order)
    assert len(pairs) == max(0, size - 1)
    losers = [rejected for _, rejected in pairs]
    assert len(set(losers)) == len(losers)
    assert set(order) - set(losers) == ({max(order)} if order else set())
    assert all(chosen > rejected for chosen, rejected in pairs)


def test_byes_stay_last() -> None:
    assert tournament([7, 6, 5, 4, 3, 2, 1], range(7)) == [(0, 1), (2, 3), (4, 5), (0, 2), (4, 6), (0, 4)]


def test_a_judge_may_be_intransitive_or_undecided() -> None:
    beats = {(0, 1), (1, 2), (2, 0)}
    assert play_tournament([0, 1, 2], lambda a, b: (a, b) in beats) == [(0, 1), (2, 0)]
    assert tournament([1.0, 1.0], [1, 0]) == [(1, 0)], "among equals the first of the match"


def test_rounds_of_several_prompts_can_be_asked_together() -> None:
    cups = [Tournament(range(size)) for size in (1, 2, 5)]
    rounds = 0
    while any(cup.matches for cup in cups):
        for cup in cups:
            cup.play([True] * len(cup.matches))
        rounds += 1
    assert rounds == 3
    assert [cup.winner for cup in cups] == [0, 0, 0]
    with pytest.raises(ValueError, match="zip"):
        Tournament([0, 1]).play([])


def test_all_pairs_above_a_margin() -> None:
    assert len(all_pairs(SCORES, range(5))) == 10
    assert all_pairs([1.0, 1.0, 2.0], [2, 1, 0], 0.0) == [(2, 1), (2, 0)], "ties are no pairs"
    assert all_pairs([1.0, 1.5, 2.5], range(3), 1.0) == [(2, 0)], "a margin of exactly 1 is not above it"
    assert all_pairs([1.0], [0]) == []


def test_random_pairs_are_different_and_uniform() -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for number in range(3000):
        found = random_pairs(SCORES, range(5), 3, generator("test", number))
        assert len({frozenset(pair) for pair in found}) == 3
        counts.update(found)
    assert all(SCORES[chosen] > SCORES[rejected] for chosen, rejected in counts)
    assert len(counts) == 10
    assert np.array(list(counts.values())) == pytest.approx(900, abs=4.5 * np.sqrt(900 * 0.7))
    assert len(random_pairs(SCORES, range(3), 99, generator("test"))) == 3
    assert random_pairs(SCORES, [1], 5, generator("test")) == []


def test_dno_margins_hang_on_who_is_positive() -> None:
    """Teacher last: it needs a lead of 2, a student a lead of 1 over whomever."""
    kinds = {(pair.chosen, pair.rejected): pair.kind for pair in dno_pairs([6, 5, 4, 3, 5], [False] * 5, teacher=4)}
    assert kinds == {
        (0, 1): "S>S",
        (0, 2): "S>S",
        (0, 3): "S>S",
        (0, 4): "S>T",
        (1, 2): "S>S",
        (1, 3): "S>S",
        (4, 3): "T>S",
    }


def test_dno_flagged_samples_are_negatives_only() -> None:
    found = dno_pairs([6, 6, 5], [True, False, False], teacher=2)
    assert [tuple(pair) for pair in found] == [(1, 0, "S>S"), (1, 2, "S>T"), (2, 0, "T>S")]
    assert dno_pairs([6, 6], [True, True], teacher=None) == []
    assert dno_pairs([9.0, 8.0], [False, True], None, min_positive_score=8.5, flagged_score=8.0) != []
    with pytest.raises(ValueError, match="zip"):
        dno_pairs([1, 2], [False], None)
