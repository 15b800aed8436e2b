"""Pairs by rule, from scores and from judgments; completions with advantages; what the report counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from candidate_rows import BIASED_CIRCLE, HANDS, Table
from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS
from preflow.errors import ArtifactError, DataError, SettingsError
from preflow.selection.win_rates import bradley_terry_preferences, bradley_terry_rewards
from preflow.settings.pairs import PairsSettings
from preflow.steps.build_pairs import step as build_pairs
from preflow.steps.kit import Step

Rows = list[dict[str, Any]]


def build(
    table: Table, *, judged: bool = False, teacher: str | None = None, **settings: Any
) -> tuple[Rows, dict[str, Any]]:
    """(the rows, the report)."""
    options = PairsSettings(**settings)
    build_pairs.run(
        Step.detached(table.folder, options.canonical()),
        prompts=table.path("prompts"),
        completions=table.path("completions"),
        pairs=table.path("pairs"),
        numbers=table.path("numbers"),
        judgments=table.path("judgments") if judged else None,
        teacher=teacher,
    )
    kind = COMPLETIONS if options.rule == "spo" else PAIRS
    return list(read_rows(table.path("pairs"), kind)), json.loads(Path(table.path("numbers")).read_text())


@pytest.fixture
def circle(tmp_path: Path) -> Table:
    """Three hands whose preferences run in a circle, judged in both orders."""
    table = Table(tmp_path, HANDS, prompts=2)
    table.judge(table.matrix(BIASED_CIRCLE))
    return table


def test_win_rates_of_a_circle_are_those_of_the_judge(circle: Table) -> None:
    """No scalar score could say it: its own preferences have no circle, and other win rates."""
    rows, _ = build(circle, judged=True, rule="sppo", labels="soft")
    assert len(rows) == 2
    for row in rows:
        assert (row["chosen"], row["rejected"]) == (HANDS[2], HANDS[0])
        assert row["chosen_win_rate"] == pytest.approx((0.875 + 0.375 + 0.5) / 3)
        assert row["rejected_win_rate"] == pytest.approx((0.5 + 0.75 + 0.125) / 3)
        assert row["preference"] == pytest.approx(0.875)
        assert row["chosen_score"] == pytest.approx(0.625), "against the others alone"
    collapsed = bradley_terry_preferences(bradley_terry_rewards(BIASED_CIRCLE))
    assert abs(collapsed[2, 0] - 0.875) > 0.2


def test_advantages_of_a_circle(circle: Table) -> None:
    rows, report = build(circle, judged=True, rule="spo")
    assert len(rows) == 6 == report["completions"]
    by_text = {row["text"]: row for row in rows}
    assert [by_text[hand]["win_rate"] for hand in HANDS] == pytest.approx([0.4375, 0.4375, 0.625])
    assert [by_text[hand]["advantage"] for hand in HANDS] == pytest.approx([-0.0625, -0.0625, 0.125])
    assert by_text[HANDS[0]]["prompt"]
    rloo, _ = build(circle, judged=True, rule="spo", advantage="rloo")
    assert [row["advantage"] for row in rloo] == pytest.approx([1.5 * row["advantage"] for row in rows])
    grpo, _ = build(circle, judged=True, rule="spo", advantage="grpo")
    assert sum(row["advantage"] for row in grpo) == pytest.approx(0)


def test_a_pure_circle_has_no_winner(tmp_path: Path) -> None:
    table = Table(tmp_path, HANDS)
    table.judge(table.matrix([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]]))
    for rule in ("sppo", "spo", "best_worst"):
        with pytest.raises(DataError, match="no pair remains"):
            build(table, judged=True, rule=rule)
    rows, _ = build(table, judged=True, rule="tournament", labels="soft")
    assert {row["preference"] for row in rows} == {1.0}, "but every match has one"


def test_mean_score_may_choose_another_than_the_win_rate(tmp_path: Path) -> None:
    """One near-certain win outweighs two small ones in log-odds, not in win rates."""
    table = Table(tmp_path, [*HANDS, "well"])
    preferences = [
        [0.5, 0.7, 0.6, 0.6],
        [0.3, 0.5, 0.45, 0.9999],
        [0.4, 0.55, 0.5, 0.6],
        [0.4, 0.0001, 0.4, 0.5],
    ]
    table.judge(table.matrix(preferences, ["rock", "paper", "scissors", "well"]))
    by_rate, _ = build(table, judged=True, rule="sppo")
    by_score, _ = build(table, judged=True, rule="sppo", rank_by="mean_score")
    assert (by_rate[0]["chosen"], by_score[0]["chosen"]) == (HANDS[0], HANDS[1])
    assert by_rate[0]["rejected"] == by_score[0]["rejected"] == "well"
    assert by_score[0]["chosen_win_rate"] == pytest.approx((0.3 + 0.5 + 0.45 + 0.9999) / 4)


def test_a_judged_tournament_is_its_matches(tmp_path: Path) -> None:
    table = Table(tmp_path, ["a", "bb", "ccc", "dddd", "eeeee"], prompts=3)
    table.judge(table.function("float(len(first) > len(second))"), schedule="tournament")
    rows, _ = build(table, judged=True, rule="tournament")
    assert len(rows) == 3 * 4
    assert all(len(row["chosen"]) > len(row["rejected"]) for row in rows)
    assert all(row["chosen_score"] is None and row["chosen_win_rate"] is None for row in rows)
    with pytest.raises(
        SettingsError, match=r"pairs.rule is sppo, but the judge held tournaments.*judge.schedule to all"
    ):
        build(table, judged=True, rule="sppo")


def test_versus_a_baseline_gives_scores_in_log_odds(tmp_path: Path) -> None:
    table = Table(tmp_path, ["a", "bb", "ccc"])
    table.judge(table.function("1 / (1 + 2.0 ** (len(second) - len(first)))"), schedule="versus_baseline")
    rows, _ = build(table, judged=True, rule="best_worst", labels="soft")
    assert (rows[0]["chosen"], rows[0]["rejected"]) == ("ccc", "a")
    assert rows[0]["preference"] == pytest.approx(0.8), "two doublings: odds of 4"
    assert rows[0]["chosen_score"] - rows[0]["rejected_score"] == pytest.approx(1.3863, abs=1e-4)


@pytest.mark.parametrize(("unit", "win_rate", "preference"), [("raw", 2.5 / 3, 1.0), ("log_odds", 0.704, 0.8808)])
def test_scores_become_win_rates(tmp_path: Path, unit: str, win_rate: float, preference: float) -> None:
    table = Table(tmp_path, ["a", "b", "c"], scores=[2.0, 1.0, 0.0], unit=unit)
    rows, _ = build(table, rule="sppo", labels="soft")
    assert rows[0]["chosen_win_rate"] == pytest.approx(win_rate, abs=1e-4)
    assert rows[0]["preference"] == pytest.approx(preference, abs=1e-4)
    assert rows[0]["chosen_score"] == 2.0
    advantages, _ = build(table, rule="spo")
    assert [row["advantage"] for row in advantages] == pytest.approx(
        [0.5, 0.0, -0.5] if unit == "raw" else [0.3059, 0.0, -0.3059], abs=1e-4
    )


def test_dno_takes_good_positives_with_a_margin(tmp_path: Path) -> None:
    """The paper's rubric: a positive has 5 or more; a teacher leads by 2, a student by 1."""
    table = Table(tmp_path, ["three", "four", "six", "five"], scores=[3, 4, 6, 5])
    teacher = table.write("teacher", ["teacher's four"], [4])
    merged = [*read_rows(table.path("completions"), COMPLETIONS), *read_rows(teacher, COMPLETIONS)]
    merged[-1] |= {"source": "teacher", "sample_index": None}
    from preflow.artifacts.io import write_rows

    write_rows(table.path("completions"), COMPLETIONS, merged)
    rows, report = build(table, rule="dno")
    found = {(row["chosen"], row["rejected"]) for row in rows}
    assert found == {
        ("six", "three"), ("six", "four"), ("six", "five"), ("six", "teacher's four"),
        ("five", "three"), ("five", "four"), ("five", "teacher's four"),
    }  # fmt: skip
    assert report["pairs_of_student_over_teacher"] == 2
    strict, _ = build(table, rule="dno", min_positive=6, student_margin=2)
    assert {(row["chosen"], row["rejected"]) for row in strict} == {
        ("six", "three"),
        ("six", "four"),
        ("six", "teacher's four"),
    }


def test_dno_on_win_rates_has_thresholds_of_their_scale(tmp_path: Path) -> None:
    """Of six candidates in a strict order the best two beat four of five or more."""
    table = Table(tmp_path, ["a", "bb", "ccc", "dddd", "eeeee"])
    teacher = table.write("teacher", ["ffffff"])
    table.judge(table.function("float(len(first) > len(second))"), teacher=teacher)
    rows, report = build(table, judged=True, teacher=teacher, rule="dno")
    chosen = [row["chosen"] for row in rows]
    assert (chosen.count("ffffff"), chosen.count("eeeee")) == (4, 4), "the teacher leads by 0.4, a student by 0.2"
    assert report["pairs_of_teacher_over_student"] == 4
    assert report["pairs_of_student_over_student"] == 4


def test_a_text_that_repeats_itself_is_a_negative(tmp_path: Path) -> None:
    loop = "again and again and again and so on " * 10
    table = Table(tmp_path, [loop, "six", "five"], scores=[6, 6, 5])
    rows, report = build(table, rule="dno")
    assert report["flagged_repetitive"] == 1
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("six", loop), ("five", loop), ("six", "five")}
    lenient, _ = build(table, rule="dno", max_repeated_share=1.0)
    assert {(row["chosen"], row["rejected"]) for row in lenient} == {(loop, "five"), ("six", "five")}


def test_random_and_all_pairs(tmp_path: Path) -> None:
    table = Table(tmp_path, ["a", "b", "c", "d"], scores=[1, 2, 3, 3], prompts=2)
    rows, report = build(table, rule="all_above_margin", min_margin=1.0)
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("c", "a"), ("d", "a")}
    assert report["ties"] == 2 * 4
    drawn, report = build(table, rule="random", num_pairs=3)
    assert len(drawn) + report.get("ties", 0) == 2 * 3
    again, _ = build(table, rule="random", num_pairs=3)
    assert again == drawn
    other, _ = build(table, rule="random", num_pairs=3, seed=1)
    assert other != drawn


def test_the_report(tmp_path: Path) -> None:
    table = Table(tmp_path, ["a good text", "a good test", "a good text", "bad"], scores=[3, 2, 3, 0], prompts=2)
    rows, report = build(table, rule="all_above_margin")
    assert len(rows) == 2 * 5 == report["pairs"]
    assert report["pairs_of_equal_texts"] == 2
    assert report["repeated_candidates"] == 2
    assert report["prompts_without_pair"] == 0
    assert (report["margin_p10"], report["margin_p90"]) == (1, 3)
    assert report["chosen_longer_share"] == pytest.approx(0.6)
    assert report["edit_distance_low_share"] == pytest.approx(0.4), "text and test: one character of eleven"


def test_judgments_of_other_candidates(circle: Table) -> None:
    circle.write("completions", ["rock again", "paper again"])
    with pytest.raises(ArtifactError, match=r"judgments of prompt .*no judgment of .*run judge_candidates"):
        build(circle, judged=True, rule="sppo")
