"""Pairs of earlier rounds."""

import pytest

from preflow.selection.history import draw_history, history_counts

IDS = [f"pair {number}" for number in range(40)]


def test_counts() -> None:
    assert history_counts([10, 3, 7]) == [0, 1]
    assert history_counts([30700]) == [] == history_counts([])
    assert history_counts([1000, 1000, 1000, 0]) == [300, 150, 75]
    assert history_counts([10, 10], newest_share=0.7) == [7], "not 6, as 0.7 * 10 = 7.000000000000001 could hide"
    assert history_counts([100, 100, 100], newest_share=0.3, decay=0.1) == [30, 3], (
        "not 2: 0.3 * 0.1 * 100 < 3 in floats"
    )
    with pytest.raises(ValueError, match="shares must lie in"):
        history_counts([1, 1], newest_share=1.5)


def test_the_draw_hangs_on_key_and_ids_alone() -> None:
    drawn = draw_history(IDS, 12, 0, "round 3", "of round 2")
    assert len(set(drawn)) == 12
    assert drawn == [each for each in IDS if each in drawn], "in the order given"
    assert set(draw_history(IDS[::-1], 12, 0, "round 3", "of round 2")) == set(drawn)
    assert draw_history(IDS, 12, 1, "round 3", "of round 2") != drawn
    assert draw_history(IDS, 40, 0) == IDS
    assert draw_history(IDS, 0, 0) == [] == draw_history([], 0, 0)


def test_what_cannot_be_drawn() -> None:
    for ids, count in ((IDS, 41), (["a", "a"], 1), (IDS, -1)):
        with pytest.raises(ValueError, match="cannot draw"):
            draw_history(ids, count, 0)
