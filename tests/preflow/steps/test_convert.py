"""Rows of one kind as rows of another, and the refusal where that means nothing."""

from pathlib import Path
from typing import Any

import pytest

import completion_rows
import tiny
from preflow.artifacts.io import read_rows, read_stamp, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS
from preflow.errors import DataError, SettingsError
from preflow.settings.convert import ConvertSettings
from preflow.steps.convert import step as convert
from preflow.steps.kit import Step
from preflow.tracking.journal import Journal, read_journal


def converted(folder: Path, kind: Any, rows: Any, **settings: Any) -> tuple[list[dict[str, Any]], Journal]:
    """What the step makes of `rows`, and its journal."""
    write_rows(folder / "data", kind, rows)
    step = Step.detached(folder, ConvertSettings(**settings).canonical(), "convert")
    convert.run(step, data=str(folder / "data"), converted=str(folder / "converted"))
    step.write_journal({})
    target = PROMPTS if settings["to"] == "prompts" else COMPLETIONS
    return list(read_rows(folder / "converted", target)), read_journal(step.journal_path)


def test_a_pair_is_a_good_and_a_bad_completion(tmp_path: Path) -> None:
    pairs = list(tiny.pair_rows(40))
    rows, journal = converted(tmp_path, PAIRS, pairs, to="labelled")
    by_id = {row["completion_id"]: row for row in rows}
    assert len(by_id) == len(rows) == 80
    for pair in pairs:
        for side, label in (("chosen", True), ("rejected", False)):
            row = by_id[pair[f"{side}_id"]]
            assert (row["text"], row["desirable"], row["prompt_id"]) == (pair[side], label, pair["prompt_id"])
            assert row["prompt"] == pair["prompt"] and row["split"] == "train"
    assert (journal["facts"]["desirable"], journal["facts"]["undesirable"]) == (40, 40)
    assert read_stamp(tmp_path / "converted").facts == {"converted_from": "pairs/v1"}


def test_labels_are_mixed_by_the_seed_alone(tmp_path: Path) -> None:
    """A file of chosen texts, then of rejected ones, would make batches of one label."""
    pairs = list(tiny.pair_rows(100))
    rows, _ = converted(tmp_path, PAIRS, pairs, to="labelled")
    batches = [sum(row["desirable"] for row in rows[start : start + 20]) for start in range(0, 200, 20)]
    assert all(2 < good < 18 for good in batches)
    ids = [row["completion_id"] for row in rows]
    again, _ = converted(tmp_path, PAIRS, pairs[::-1], to="labelled")
    assert [row["completion_id"] for row in again] == ids
    other, _ = converted(tmp_path, PAIRS, pairs, to="labelled", seed=1)
    assert [row["completion_id"] for row in other] != ids


def test_large_files_are_mixed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "MIXED_AT_ONCE", 16)
    rows, _ = converted(tmp_path, PAIRS, tiny.pair_rows(40), to="labelled")
    assert len({row["completion_id"] for row in rows}) == 80
    parts = [sum(row["desirable"] for row in rows[start : start + 16]) for start in range(0, 80, 16)]
    assert parts == [8] * 5


def test_votes_decide(tmp_path: Path) -> None:
    """One of four voted for the chosen side; a pair with equal votes says nothing."""
    turned, even, plain = tiny.pair_rows(3)
    rows, journal = converted(
        tmp_path,
        PAIRS,
        [turned | {"preference": 0.25, "weight": 4.0}, even | {"preference": 0.5, "weight": 2.0}, plain],
        to="labelled",
    )
    labels = {row["completion_id"]: row["desirable"] for row in rows}
    assert labels == {
        turned["chosen_id"]: False,
        turned["rejected_id"]: True,
        plain["chosen_id"]: True,
        plain["rejected_id"]: False,
    }
    assert journal["facts"]["contradicted"] == 2
    assert "2 completions were preferred as often as not" in journal["warnings"][0]


@pytest.mark.parametrize(("to", "side"), [("negatives", "rejected"), ("sft", "chosen")])
def test_one_side_of_pairs(to: str, side: str, tmp_path: Path) -> None:
    pairs = list(tiny.pair_rows(5))
    rows, _ = converted(tmp_path, PAIRS, [*pairs, pairs[2] | {"pair_id": "again"}], to=to)
    assert [row["text"] for row in rows] == [pair[side] for pair in pairs]
    assert {row["desirable"] for row in rows} == {to == "sft"}


@pytest.mark.parametrize(("threshold", "good"), [(5.0, {6.0, 9.0}), ("mean", {9.0, 6.0}), ("median", {9.0})])
def test_scores_are_cut(threshold: Any, good: set[float], tmp_path: Path) -> None:
    scores = [1.0, 9.0, 6.0] if threshold == "median" else [1.0, 2.0, 6.0, 9.0]
    rows = completion_rows.completions(len(scores), score=lambda number: scores[number])
    found, _ = converted(tmp_path, COMPLETIONS, rows, to="labelled", threshold=threshold)
    assert {row["score"] for row in found if row["desirable"]} == good
    assert len(found) == len(scores)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [(PAIRS, tiny.pair_rows), (COMPLETIONS, completion_rows.scored), (PROMPTS, tiny.prompt_rows)],
)
def test_prompts_of_anything(kind: Any, rows: Any, tmp_path: Path) -> None:
    own = list(rows(6))
    twice = [*own, own[0] | {"pair_id": "b"}] if kind is PAIRS else own
    found, _ = converted(tmp_path, kind, twice, to="prompts")
    assert [row["prompt_id"] for row in found] == [row["prompt_id"] for row in own]
    assert [row["prompt"] for row in found] == [row["prompt"] for row in own]


@pytest.mark.parametrize(
    ("kind", "rows", "to", "words"),
    [
        (PROMPTS, tiny.prompt_rows, "labelled", "holds prompts: they do not say what labelled rows would need. Expected comp"),
        (PROMPTS, tiny.prompt_rows, "negatives", "Expected pairs."),
        (COMPLETIONS, completion_rows.labelled, "sft", "holds completions"),
        (COMPLETIONS, completion_rows.labelled, "labelled", "row 1 has no score, so it has no label"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(kind: Any, rows: Any, to: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        converted(tmp_path, kind, rows(3), to=to)
    assert not (tmp_path / "converted").exists()


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labelled rows remain"):
        converted(tmp_path, PAIRS, [row | {"preference": 0.5} for row in tiny.pair_rows(3)], to="labelled")
    assert not (tmp_path / "converted").exists()
