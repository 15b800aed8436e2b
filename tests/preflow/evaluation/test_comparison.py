"""Duels, win rates and what texts look like."""

import itertools

import numpy as np
import pytest

from preflow.evaluation.comparison import Duel, duels, text_numbers, win_numbers
from preflow.evaluation.diversity import distinct_ngrams
from preflow.models.sampling import Sample

PROMPT = [{"role": "user", "content": "?"}]


def text(prompt: str, index: int = 0, words: str = "a b", finish: str = "stop", tokens: int = 3) -> Sample:
    return Sample(prompt, index, words, [5] * tokens, finish, 0.0)


def judged(prompt: str, *scores: tuple[float, float]) -> list[Duel]:
    return [Duel(prompt, PROMPT, text(prompt, index), text(prompt, index), each) for index, each in enumerate(scores)]


def test_a_tie_is_half_a_win() -> None:
    found = judged("a", (1.0, 0.0)) + judged("b", (0.5, 0.5)) + judged("c", (0.0, 1.0)) + judged("d", (2.0, 1.0))
    numbers = win_numbers(found, 0.95, 0)
    assert numbers["eval/win_rate"] == (1 + 0.5 + 0 + 1) / 4
    assert numbers["eval/tie_share"] == 0.25
    assert numbers["eval/judge_score"] == pytest.approx(3.5 / 4)
    assert numbers["eval/baseline_judge_score"] == pytest.approx(2.5 / 4)
    assert 0 <= numbers["eval/win_rate_low"] <= numbers["eval/win_rate"] <= numbers["eval/win_rate_high"] <= 1


def test_every_sample_meets_every_sample_of_the_baseline() -> None:
    # policy 3, 1 against baseline 2, 1: wins 3>2, 3>1; 1<2; 1=1 -> (1 + 1 + 0 + 0.5) / 4
    numbers = win_numbers(judged("a", (3.0, 2.0), (1.0, 1.0)), 0.95, 0)
    assert numbers["eval/win_rate"] == 2.5 / 4
    assert numbers["eval/tie_share"] == 1 / 4


def test_equal_scores_are_exactly_one_half_and_swapped_sides_one_minus() -> None:
    generator = np.random.default_rng(0)
    scores = [[tuple(each) for each in generator.integers(0, 4, (3, 2)).tolist()] for _ in range(30)]
    found = [duel for n, each in enumerate(scores) for duel in judged(f"p{n}", *each)]
    swapped = [duel for n, each in enumerate(scores) for duel in judged(f"p{n}", *[(b, a) for a, b in each])]
    one, other = (win_numbers(each, 0.95, 0)["eval/win_rate"] for each in (found, swapped))
    assert one == pytest.approx(1 - other)
    same = [duel for n, each in enumerate(scores) for duel in judged(f"p{n}", *[(a, a) for a, _ in each])]
    assert win_numbers(same, 0.95, 0)["eval/win_rate"] == 0.5


def test_the_win_rate_is_unbiased_for_independent_draws() -> None:
    """All outcomes of two draws a side from laws over scores 0, 1, 2, weighted by their probability."""
    policy, baseline = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])
    # P(policy > baseline) = .3*.4 + .5*(.4+.4) = .52; P(tie) = .2*.4 + .3*.4 + .5*.2 = .30
    expected, mean = 0.52 + 0.30 / 2, 0.0
    for a, b, c, d in itertools.product(range(3), repeat=4):
        probability = policy[a] * policy[b] * baseline[c] * baseline[d]
        mean += probability * win_numbers(judged("p", (a, c), (b, d)), 0.95, 0)["eval/win_rate"]
    assert mean == pytest.approx(expected)


def test_samples_are_joined_by_prompt_and_index_whatever_their_order() -> None:
    own = [text("b", 1), text("a", 0), text("b", 0), text("a", 1)]
    other = [text("a", 1, "x"), text("b", 0, "y"), text("a", 0, "z"), text("b", 1, "w")]
    found = duels({"a": PROMPT, "b": PROMPT}, own, other)
    assert [(each.prompt_id, each.policy.sample_index, each.baseline.text) for each in found] == [
        ("a", 0, "z"),
        ("a", 1, "x"),
        ("b", 0, "y"),
        ("b", 1, "w"),
    ]


def test_one_baseline_text_meets_every_sample() -> None:
    found = duels({"a": PROMPT}, [text("a", 0), text("a", 1)], [text("a", 0, "chosen")])
    assert [each.baseline.text for each in found] == ["chosen", "chosen"]


def test_lengths_finished_texts_and_words() -> None:
    found = [
        Duel("a", PROMPT, text("a", words="x y x y", tokens=6), text("a", words="x y", tokens=2)),
        Duel("b", PROMPT, text("b", words="", finish="length", tokens=2), text("b", words="z", tokens=2)),
    ]
    numbers = text_numbers(found)
    assert numbers["eval/length"] == 4
    assert numbers["eval/length_ratio"] == 2
    assert numbers["eval/finished_share"] == 0.5
    assert numbers["eval/distinct_1"] == 0.5
    assert numbers["eval/distinct_2"] == 2 / 3
    assert numbers["eval/baseline_distinct_2"] == 1


def test_distinct_ngrams_do_not_span_texts_and_survive_empty_ones() -> None:
    assert distinct_ngrams(["a b", "c d"], 2) == 1.0
    assert distinct_ngrams(["", "a"], 2) is None, "one word is no bigram"
    assert distinct_ngrams([], 1) is None
    assert distinct_ngrams(["The cat", "the CAT"], 2) == 0.5
