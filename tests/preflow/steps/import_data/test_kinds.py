"""Completions with a label or a score, unwanted ones, and questions with right and wrong answers."""

from pathlib import Path
from typing import Any

import pytest

from import_files import FORMATS, assistant, import_files, pair, problems_of, user, write
from preflow.errors import SettingsError
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.labels import label_of
from preflow.steps.import_data.problems import RowError


def answer(number: int, **facets: Any) -> dict[str, Any]:
    return {"prompt": f"What is {number} plus one?", "completion": f"It is {number + 1}.", **facets}


@pytest.mark.parametrize("form", FORMATS)
def test_labelled(form: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [answer(1, label=True), answer(2, label=False)], form)
    write(tmp_path, [{"messages": [user("One?"), assistant("1")], "desirable": "no"}], form, number=1)
    rows = import_files(tmp_path, tiny_tokenizer, kind="labelled", heldout_fraction=0.0).train
    assert [(row["text"], row["desirable"]) for row in rows] == [("It is 2.", True), ("It is 3.", False), ("1", False)]
    assert {row["score"] for row in rows} == {None}


@pytest.mark.parametrize("form", FORMATS)
def test_scored(form: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [answer(1, score=0.25), answer(2, score=-3.0)], form)
    write(tmp_path, [answer(3, rating=7.0)], form, number=1)
    rows = import_files(tmp_path, tiny_tokenizer, kind="scored", heldout_fraction=0.0).train
    assert [row["score"] for row in rows] == [0.25, -3.0, 7.0]
    assert {row["desirable"] for row in rows} == {None}


def test_unwanted_completions_and_an_echo(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """What is to be avoided may well begin with the prompt; what is to be learned may not."""
    echo = answer(1, completion="What is 1 plus one? Who knows.")
    write(tmp_path, [answer(2, label=0), echo | {"label": False}])
    assert problems_of(tmp_path, tiny_tokenizer, kind="labelled") == []
    (tmp_path / "learned").mkdir()
    write(tmp_path / "learned", [answer(2, label=1), echo | {"label": True}])
    for kind in ("labelled", "sft"):
        found = problems_of(tmp_path / "learned", tiny_tokenizer, kind=kind)
        assert [(each.code, each.row) for each in found] == [("prompt_repeated", 2)]
    rows = import_files(tmp_path, tiny_tokenizer, kind="negatives").rows
    assert [row["desirable"] for row in rows] == [False, False]


@pytest.mark.parametrize("form", FORMATS)
def test_questions_as_in_tofu(form: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    row = {"question": "One?", "answer": "1", "paraphrased_answer": "one", "perturbed_answer": ["2", "3"]}
    write(tmp_path, [row], form)
    write(tmp_path, [{"question": "Two?", "answer": "2", "perturbed_answer": "7"}], form, number=1)
    rows = import_files(tmp_path, tiny_tokenizer, kind="questions", heldout_fraction=0.0).train
    assert [(row["prompt"][-1]["content"], row["source"], row["text"]) for row in rows] == [
        ("One?", "answer", "1"),
        ("One?", "paraphrased", "one"),
        ("One?", "perturbed", "2"),
        ("One?", "perturbed", "3"),
        ("Two?", "answer", "2"),
        ("Two?", "perturbed", "7"),
    ]
    assert len({row["completion_id"] for row in rows}) == 6
    (tmp_path / "plain").mkdir()
    write(tmp_path / "plain", [{"question": "One?", "answer": "1"}], form)
    (row,) = import_files(tmp_path / "plain", tiny_tokenizer, kind="sft").rows
    assert (row["prompt"], row["text"]) == ([user("One?")], "1")


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *((good, True) for good in (True, 1, 1.0, "1", "True", " yes ", "Desirable", "thumbs_up", "Thumbs-Up", "👍🏽", "good")),
        *((bad, False) for bad in (False, 0, -1, "-1", "No", "thumbs down", "👎", "undesirable")),
    ],
)  # fmt: skip
def test_labels_as_people_write_them(value: Any, meaning: bool) -> None:
    assert label_of(value) is meaning


@pytest.mark.parametrize(
    ("value", "code", "fix"),
    [
        (None, "null", "remove the row"),
        ("", "null", "remove the row"),
        ("neither", "unknown_label", "set columns: {label: ...} beside the files"),
        (0.7, "unknown_label", "data.scored"),
        (["a"], "unknown_label", "set columns: {label: ...} beside the files"),
    ],
)
def test_labels_that_are_none(value: Any, code: str, fix: str) -> None:
    with pytest.raises(RowError) as caught:
        label_of(value)
    assert caught.value.code == code and fix in caught.value.fix


@pytest.mark.parametrize(
    ("kind", "row", "code", "words"),
    [
        ("labelled", answer(1), "missing_column", "no column 'label' (labelled completions need it)"),
        ("labelled", answer(1, score=1.0), "missing_column", "name the files as data.scored"),
        ("labelled", pair(1), "missing_column", "take a method that starts from data.pairs"),
        ("scored", answer(1), "missing_column", "no column 'score'"),
        ("scored", answer(1, score=None), "null", "score is null."),
        ("scored", answer(1, score="high"), "wrong_type", "expected a finite number"),
        ("scored", answer(1, score=float("nan")), "wrong_type", "expected a finite number"),
        ("negatives", pair(1), "missing_column", "unwanted completions need prompt and completion"),
        ("questions", {"question": "One?"}, "missing_column", "no column 'completion'"),
        ("questions", {"question": "1?", "answer": "1", "perturbed_answer": ["2", ""]}, "empty_completion", "perturbed 2"),
    ],
)  # fmt: skip
def test_defects(kind: str, row: dict[str, Any], code: str, words: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [row])
    (found,) = problems_of(tmp_path, tiny_tokenizer, kind=kind)
    assert (found.code, found.row) == (code, 1) and words in f"{found.message} {found.fix}"


@pytest.mark.parametrize(
    ("kind", "facets", "says"),
    [
        ("labelled", ({"label": 1}, {"label": 0}), "undesirable, but row 1 says desirable of the same completion."),
        ("scored", ({"score": 0.5}, {"score": 2}), "score 2, but row 1 says score 0.5 of the same completion."),
    ],
)
def test_a_completion_with_two_labels(kind: str, facets: Any, says: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [answer(1, **facets[0]), answer(1, **facets[1]), answer(1, **facets[0])])
    found = problems_of(tmp_path, tiny_tokenizer, kind=kind)
    assert [(each.code, each.row) for each in found] == [("contradiction", 2), ("duplicate", 3)]
    assert found[0].message == says and found[0].fix == "Remove one, or set data.duplicates: keep (both count)."
    kept = import_files(tmp_path, tiny_tokenizer, kind=kind, duplicates="keep")
    assert len({row["completion_id"] for row in kept.rows}) == 3
    assert (kept.numbers["contradictions"], kept.numbers["duplicates"]) == (1, 1)
    assert any("1 completions with a second label or score were kept" in text for text in kept.warnings)
    with pytest.raises(SettingsError, match="use stop or keep"):
        ImportSettings.parse(f'{{"kind": "{kind}", "duplicates": "aggregate"}}')


def test_report_of_labels(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [answer(number, label=number % 3 == 0) for number in range(30)])
    found = import_files(tmp_path, tiny_tokenizer, kind="labelled")
    assert (found.numbers["desirable"], found.numbers["undesirable"], found.numbers["contradictions"]) == (10, 20, 0)
    assert "undesirable" in found.page
    write(tmp_path, [answer(number, label=1) for number in range(3)])
    one_sided = import_files(tmp_path, tiny_tokenizer, kind="labelled")
    assert any("all 3 completions are desirable" in text for text in one_sided.warnings)


def test_report_of_scores(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [answer(number, score=number / 10) for number in range(101)])
    found = import_files(tmp_path, tiny_tokenizer, kind="scored")
    assert found.numbers["scores"] == pytest.approx(
        {"p1": 0.1, "p10": 1.0, "p50": 5.0, "p90": 9.0, "p99": 9.9, "p100": 10.0, "mean": 5.0, "std": 850**0.5 / 10, "distinct": 101}
    )  # fmt: skip
    assert "histogram of scores" in found.page
    write(tmp_path, [answer(number, score=2) for number in range(3)])
    flat = import_files(tmp_path, tiny_tokenizer, kind="scored")
    assert any("all 3 scores are 2" in text for text in flat.warnings)
    assert "histogram of scores" in flat.page
