"""Rules that sort rows: stages, labels, defects, pointwise rewards, edit distances."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflow.selection.editing import edit_distance, edit_report, normalised_edit_distance
from preflow.selection.labels import labels_from_pairs, labels_from_scores, one_per_prompt, shuffled
from preflow.selection.pointwise import order_average, pointwise_reward
from preflow.selection.repetition import defects, repeated_share, words
from preflow.selection.stages import equal_stages, gamma_per_token, source_accuracies, sources_easy_to_hard


def test_sources_by_falling_accuracy() -> None:
    gammas = {"hard": [-1.0, 0.0], "even": [1.0, -1.0], "also even": [2.0, -3.0], "easy": [0.1]}
    assert source_accuracies(gammas) == {"hard": 0.0, "even": 0.5, "also even": 0.5, "easy": 1.0}
    assert sources_easy_to_hard(gammas) == ["easy", "even", "also even", "hard"]
    for bad in ({"a": []}, {"a": [math.nan]}):
        with pytest.raises(ValueError, match="source 'a'"):
            source_accuracies(bad)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.integers(1, 8))
def test_equal_stages_are_equal_and_sorted(easiness: list[float], count: int) -> None:
    if count > len(easiness):
        with pytest.raises(ValueError, match="stages"):
            equal_stages(easiness, count)
        return
    stages = equal_stages(easiness, count)
    sizes = Counter(stages)
    assert sorted(sizes) == list(range(count))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for earlier in range(count - 1):
        hardest = min(value for value, stage in zip(easiness, stages, strict=True) if stage == earlier)
        assert hardest >= max(value for value, stage in zip(easiness, stages, strict=True) if stage == earlier + 1)


def test_length_does_not_make_a_pair_easy() -> None:
    assert gamma_per_token(-10.0, 5, -30.0, 20) == -0.5, "the sum says easy, each token says hard"
    with pytest.raises(ValueError, match="NaN"):
        equal_stages([1.0, math.nan], 2)


def pair(chosen: str, rejected: str, preference: float = 1.0, weight: float = 1.0) -> dict[str, Any]:
    return {"chosen_id": chosen, "rejected_id": rejected, "preference": preference, "weight": weight}


def test_labels_from_pairs_are_votes() -> None:
    assert labels_from_pairs([pair("a", "b")]).desirable == {"a": True, "b": False}
    tournament = labels_from_pairs([pair("a", "b"), pair("c", "d"), pair("a", "c")])
    assert tournament.desirable == {"a": True, "b": False, "d": False}
    assert tournament.contradicted == ("c",)
    aggregated = labels_from_pairs([pair("a", "b", preference=0.25, weight=4.0)])
    assert aggregated.desirable == {"a": False, "b": True}, "three of four voted for the other side"
    assert labels_from_pairs([pair("a", "b", preference=0.5)]).contradicted == ("a", "b")
    assert labels_from_pairs([]).desirable == {}


def test_labels_from_scores() -> None:
    scores = [1.0, 2.0, 3.0, 10.0]
    assert labels_from_scores(scores, 2.0) == [False, False, True, True], "at the threshold is undesirable"
    assert labels_from_scores(scores, "mean") == [False, False, False, True]
    assert labels_from_scores(scores, "median") == [False, False, True, True]
    assert labels_from_scores([], "mean") == []


def test_the_order_mixes_labels_whatever_the_file_order() -> None:
    ids = [f"good {number}" for number in range(100)] + [f"bad {number}" for number in range(100)]
    order = shuffled(ids, 0, "epoch")
    assert sorted(order) == list(range(200))
    batches = [sum(ids[place].startswith("good") for place in order[start : start + 20]) for start in range(0, 200, 20)]
    assert all(2 < each < 18 for each in batches)
    again = shuffled(ids[::-1], 0, "epoch")
    assert [ids[place] for place in order] == [ids[::-1][place] for place in again]
    assert shuffled(ids, 1, "epoch") != order


def test_one_completion_per_prompt() -> None:
    prompts = ["p", "p", "q", "p"]
    found = {tuple(one_per_prompt(prompts, ["a", "b", "c", "d"], seed)) for seed in range(40)}
    assert found == {(0, 2), (1, 2), (2, 3)}


def test_loops_are_found_and_prose_is_not() -> None:
    prose = "The cat sat on the mat, and the dog sat on the rug. Both of them looked at the bird outside the window."
    assert defects([prose, "again and again " * 20, "ha" * 300, "!" * 50, "好" * 60, ""], ["stop"] * 6) == [
        (),
        ("repetitive",),
        ("repetitive",),
        ("repetitive",),
        ("repetitive",),
        ("empty",),
    ]
    loop_at_the_end = prose + " and so on and so on" * 12
    assert defects([loop_at_the_end], [None]) == [("repetitive",)]
    assert defects([loop_at_the_end], [None], max_repeated_share=0.9) == [()]


def test_copies_and_truncation() -> None:
    assert defects(["one  two", "one two\n", "three"], ["stop", "length", "length"]) == [
        (),
        ("duplicate", "truncated"),
        ("truncated",),
    ]


def test_repeated_share_counts_words_of_later_occurrences() -> None:
    assert repeated_share(list("abcdabcdabcd"), 4) == pytest.approx(8 / 12)
    assert repeated_share([1, 2, 3], 5) == 0 == repeated_share([], 2)
    assert words("x" * 41) == ["x"] * 41


def test_pointwise_rewards() -> None:
    assert pointwise_reward(0.5) == 0
    assert pointwise_reward(1 / (1 + math.exp(-1.0))) == pytest.approx(1)
    assert pointwise_reward(0.0) == pytest.approx(-13.815509557963773)
    assert (
        pointwise_reward(0.0, clip=0.1)
        == pytest.approx(-pointwise_reward(1.0, clip=0.1))
        == pytest.approx(-math.log(9))
    )
    assert order_average(1.0, 1.0) == 0.5, "a judge that always names the first knows nothing"
    for probability, clip in ((math.nan, 1e-6), (1.2, 1e-6), (0.5, 0.5), (0.5, 0.0)):
        with pytest.raises(ValueError, match="expected a probability"):
            pointwise_reward(probability, clip)


def table_distance(first: str, second: str) -> int:
    """The textbook's table."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@given(st.text("abc", max_size=80), st.text("abc", max_size=80))
def test_edit_distance_is_the_tables(first: str, second: str) -> None:
    assert edit_distance(first, second) == table_distance(first, second) == edit_distance(list(first), list(second))


def test_normalised_edit_distance_and_its_report() -> None:
    assert normalised_edit_distance("", "") == 0
    assert normalised_edit_distance("", "abc") == 1
    assert normalised_edit_distance([5, 6, 7, 8], [5, 6, 8]) == 0.25
    assert edit_report([0.05, 0.1, 0.45]) == pytest.approx(
        {"edit_distance_mean": 0.2, "edit_distance_median": 0.1, "edit_distance_low_share": 1 / 3}
    )
    assert edit_report([]) == {}
