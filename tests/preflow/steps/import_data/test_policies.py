"""What is the user's to decide: duplicates, bad rows, the split."""

from pathlib import Path

import pytest

from import_files import Imported, import_files, pair, pairs, problems_of, user, write
from preflow.artifacts.ids import prompt_id
from preflow.errors import DataError

OTHER_WAY = {**pair(1), "chosen": pair(1)["rejected"], "rejected": pair(1)["chosen"]}


@pytest.mark.parametrize("policy", ["stop", "keep", "aggregate"])
def test_no_duplicates_no_difference(policy: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, pairs(5))
    rows = import_files(tmp_path, tiny_tokenizer, duplicates=policy).rows
    assert len(rows) == 5 and {(row["preference"], row["weight"]) for row in rows} == {(1.0, 1.0)}


def test_duplicates_stop_and_name_the_first(tmp_path: Path, tiny_tokenizer: Path) -> None:
    first = write(tmp_path, pairs(3))
    second = write(tmp_path, [pair(8), pair(2), pair(8), OTHER_WAY], number=1)
    found = problems_of(tmp_path, tiny_tokenizer)
    assert [(each.file, each.row, each.code) for each in found] == [
        (str(second), 2, "duplicate"),
        (str(second), 3, "duplicate"),
        (str(second), 4, "opposite_pair"),
    ]
    assert [each.message for each in found] == [
        f"the same as row 2 of {first}.",
        "the same as row 1.",
        f"row 1 of {first} prefers the other side of the same pair.",
    ]


def test_same_answers_to_another_prompt_are_no_duplicate(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(1), pair(1, prompt="Another?"), pair(1, chosen="Another.")])
    assert len(import_files(tmp_path, tiny_tokenizer).rows) == 3


def test_kept_duplicates_have_their_own_ids(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(1), pair(1), OTHER_WAY, pair(1)])
    found = import_files(tmp_path, tiny_tokenizer, duplicates="keep")
    assert len({row["pair_id"] for row in found.rows}) == 4
    assert (found.numbers["duplicates"], found.numbers["opposite_pairs"]) == (2, 1)
    assert any("duplicates" in text for text in found.warnings)


def test_votes_are_aggregated(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Pair 1: three votes to one. Pair 2: one to two, so the other side is chosen. Pair 3: one to one. Pair 4: alone."""
    turned = {
        number: {**pair(number), "chosen": pair(number)["rejected"], "rejected": pair(number)["chosen"]}
        for number in (2, 3)
    }
    scores = {"chosen_score": 0.9, "rejected_score": 0.1}
    write(tmp_path, [pair(1), pair(2, **scores), pair(3), pair(1), turned[2], OTHER_WAY, pair(4)])
    write(tmp_path, [turned[2], pair(1), turned[3]], number=1)
    found = import_files(tmp_path, tiny_tokenizer, duplicates="aggregate", heldout_fraction=0.0)
    got = [(row["chosen"], row["preference"], row["weight"]) for row in found.train]
    assert got == [
        (pair(1)["chosen"], 0.75, 4.0),
        (pair(2)["rejected"], pytest.approx(2 / 3), 3.0),
        (pair(3)["chosen"], 0.5, 2.0),
        (pair(4)["chosen"], 1.0, 1.0),
    ]
    assert (found.train[1]["chosen_score"], found.train[1]["rejected_score"]) == (0.1, 0.9)
    assert found.numbers["rows"] == 4 and found.numbers["rows_read"] == 10
    assert len({row["pair_id"] for row in found.train}) == 4


def test_equal_prompts_are_one_prompt(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"prompt": "One?"}, {"prompt": [user("One?")]}, {"prompt": "Two?"}])
    assert [each.code for each in problems_of(tmp_path, tiny_tokenizer, kind="prompts")] == ["duplicate"]
    for policy in ("keep", "aggregate"):
        assert len(import_files(tmp_path, tiny_tokenizer, kind="prompts", duplicates=policy).rows) == 2


def test_equal_demonstrations_are_kept_apart(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"prompt": "One?", "completion": "1"}] * 3)
    rows = import_files(tmp_path, tiny_tokenizer, kind="sft", duplicates="keep").rows
    assert [row["sample_index"] for row in rows] == [0, 1, 2] and len({row["completion_id"] for row in rows}) == 3


@pytest.mark.parametrize("policy", ["stop", "keep", "aggregate"])
def test_bad_rows_are_dropped_aloud(policy: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    path = write(tmp_path, pairs(20, {3: {"chosen": None}, 7: {"prompt": ""}}))
    path.write_text(path.read_text() + '{"prompt": "broken\n')
    found = import_files(tmp_path, tiny_tokenizer, on_bad_row="drop", duplicates=policy)
    assert [(each["file"], each["row"], each["code"]) for each in found.rejects] == [
        ("train/000.jsonl", 3, "null"),
        ("train/000.jsonl", 7, "empty_prompt"),
        ("train/000.jsonl", 21, "broken_json"),
    ]
    assert found.rejects[0]["content"] == pair(3, chosen=None)
    assert found.rejects[2]["content"] == '{"prompt": "broken\n' and found.rejects[2]["message"]
    assert len(found.rows) == 18 and found.numbers["rows_dropped"] == 3
    assert found.numbers["dropped"] == {"null": 1, "empty_prompt": 1, "broken_json": 1}
    assert any("3 of 21 rows were dropped" in text for text in found.warnings)


def test_dropping_does_not_hide_a_file_that_cannot_be_read(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Not even behind twenty rows that were dropped."""
    write(tmp_path, pairs(100, {number: {"chosen": None} for number in range(1, 60)}))
    cut = write(tmp_path, pairs(50), "csv.gz", number=1)
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(DataError) as caught:
        import_files(tmp_path, tiny_tokenizer, on_bad_row="drop", duplicates="keep")
    assert "unreadable_file" in [each.code for each in caught.value.problems]


def test_dropping_does_not_drop_a_whole_table(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, pairs(5))
    write(tmp_path, [{"prompt": "a?", "choosen": "b", "rejected": "c"}] * 4, "parquet", number=1)
    assert [(each.code, each.row) for each in problems_of(tmp_path, tiny_tokenizer, on_bad_row="drop")] == [
        ("missing_column", 1)
    ]


def test_dropping_everything_is_an_error(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, pairs(3, {number: {"chosen": None} for number in (1, 2, 3)}))
    assert len(problems_of(tmp_path, tiny_tokenizer, on_bad_row="drop")) == 3


def test_dropped_duplicates(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(1), pair(1), pair(2)])
    found = import_files(tmp_path, tiny_tokenizer, on_bad_row="drop")
    assert len(found.rows) == 2 and [each["code"] for each in found.rejects] == ["duplicate"]


def sides(found: Imported) -> dict[str, str]:
    return {row["prompt_id"]: row["split"] for row in found.rows}


def test_prompts_never_move(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Not when rows are added, nor between kinds; and what was held out stays so when more is."""
    write(tmp_path / "a", pairs(200))
    few = import_files(tmp_path / "a", tiny_tokenizer, heldout_fraction=0.2)
    write(tmp_path / "b", [pair(number) for number in range(400, 0, -1)], "csv")
    many = import_files(tmp_path / "b", tiny_tokenizer, heldout_fraction=0.2)
    assert sides(few).items() <= sides(many).items()
    assert 0.13 < len(many.heldout) / 400 < 0.27
    more = import_files(tmp_path / "b", tiny_tokenizer, heldout_fraction=0.5)
    assert {row["prompt_id"] for row in many.heldout} < {row["prompt_id"] for row in more.heldout}
    assert all(row["prompt_id"] == prompt_id(row["prompt"]) for row in more.rows)


def test_rows_of_a_prompt_stay_together(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(number % 40, chosen=f"Answer {number}.") for number in range(200)])
    found = import_files(tmp_path, tiny_tokenizer, heldout_fraction=0.5)
    assert not {row["prompt_id"] for row in found.train} & {row["prompt_id"] for row in found.heldout}


def test_the_users_column_splits(tmp_path: Path, tiny_tokenizer: Path) -> None:
    names = ["train", "test", " Validation ", "training", "held_out", "train_prefs", "test_prefs"]
    write(tmp_path, [pair(number, part=name) for number, name in enumerate(names)], "csv")
    found = import_files(tmp_path, tiny_tokenizer, split_column="part", heldout_fraction=0.9)
    assert (len(found.train), len(found.heldout)) == (3, 4)


def test_split_column_that_is_not_there(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(1, parts="train")])
    (found,) = problems_of(tmp_path, tiny_tokenizer, split_column="part")
    assert found.code == "missing_column" and "set split_column: parts beside the files." in found.fix


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_a_prompt_on_both_sides_of_a_column(order: tuple[str, str], tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(1, part=order[0]), pair(1, part=order[1], chosen="Another.")])
    assert [(each.code, each.row) for each in problems_of(tmp_path, tiny_tokenizer, split_column="part")] == [
        ("prompt_in_both_splits", 2)
    ]


def test_heldout_files_are_the_split(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, pairs(50))
    write(tmp_path, [pair(number) for number in range(51, 60)], "parquet", split="heldout")
    found = import_files(tmp_path, tiny_tokenizer)
    assert (len(found.train), len(found.heldout)) == (50, 9)


@pytest.mark.parametrize("policy", ["stop", "keep", "aggregate"])
def test_leaked_prompts_are_dropped_from_what_is_held_out(policy: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, pairs(5))
    write(tmp_path, [pair(8), pair(2, chosen="Another."), pair(3)], split="heldout")
    found = import_files(tmp_path, tiny_tokenizer, on_bad_row="drop", duplicates=policy)
    assert (len(found.train), len(found.heldout)) == (5, 1)
    assert [(each["file"], each["row"], each["code"]) for each in found.rejects] == [
        ("heldout/000.jsonl", 2, "prompt_in_both_splits"),
        ("heldout/000.jsonl", 3, "prompt_in_both_splits"),
    ]


def test_nothing_held_out_is_said(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, pairs(3))
    found = import_files(tmp_path, tiny_tokenizer, heldout_fraction=0.0)
    assert any("no rows are held out" in text for text in found.warnings)


def test_only_heldout_files(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """As evaluation's own data arrives."""
    write(tmp_path, pairs(3), split="heldout")
    found = import_files(tmp_path, tiny_tokenizer)
    assert (len(found.train), len(found.heldout)) == (0, 3)
