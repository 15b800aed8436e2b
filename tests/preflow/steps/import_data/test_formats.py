"""The formats and shapes that people have all become the same rows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_files import FORMATS, assistant, import_files, pair, pairs, problems_of, table, user, write, write_dataset
from preflow.steps.import_data.readers import read_file

PROMPT, CHOSEN, REJECTED = [user("Hello there, you!")], "Good day.", "Go away."
AS_MESSAGES = {"prompt": PROMPT, "chosen": [assistant(CHOSEN)], "rejected": [assistant(REJECTED)]}
PAIR_SHAPES: dict[str, dict[str, Any]] = {
    "texts": {"prompt": PROMPT[0]["content"], "chosen": CHOSEN, "rejected": REJECTED},
    "prompt as messages": {"prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED},
    "all as messages": AS_MESSAGES,
    "implicit prompt": {side: PROMPT + AS_MESSAGES[side] for side in ("chosen", "rejected")},
    "transcripts": {
        "chosen": f"\n\nHuman: {PROMPT[0]['content']}\n\nAssistant: {CHOSEN}",
        "rejected": f"\n\nHuman: {PROMPT[0]['content']}\n\nAssistant: {REJECTED}",
    },
    "ShareGPT's names": {
        "prompt": [{"from": "human", "value": PROMPT[0]["content"]}],
        "chosen": [{"from": "gpt", "value": CHOSEN}],
        "rejected": [{"from": "gpt", "value": REJECTED}],
    },
    "messages in JSON": {name: json.dumps(value) for name, value in AS_MESSAGES.items()},
    "indented JSON": {name: json.dumps(value, indent=2) for name, value in AS_MESSAGES.items()},
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", PAIR_SHAPES)
def test_pairs(shape: str, form: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [PAIR_SHAPES[shape]], form)
    (row,) = import_files(tmp_path, tiny_tokenizer).rows
    assert (row["prompt"], row["chosen"], row["rejected"]) == (PROMPT, CHOSEN, REJECTED)
    assert (row["preference"], row["weight"]) == (1.0, 1.0)


@pytest.mark.parametrize("form", FORMATS)
def test_demonstrations(form: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"messages": [*PROMPT, assistant("A.")]}], form)
    write(tmp_path, [{"prompt": PROMPT, "completion": [assistant("B.")]}], form, number=1)
    write(tmp_path, [{"prompt": PROMPT[0]["content"], "completion": "C."}], form, number=2)
    rows = import_files(tmp_path, tiny_tokenizer, kind="sft").rows
    assert [(row["prompt"], row["text"], row["source"]) for row in rows] == [
        (PROMPT, text, "human") for text in ("A.", "B.", "C.")
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_prompts(form: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"prompt": "One?", "answer": "1"}, {"prompt": "Two?", "answer": "2"}], form)
    write(tmp_path, [{"messages": [{"role": "system", "content": "Be brief."}, *PROMPT]}], form, number=1)
    rows = import_files(tmp_path, tiny_tokenizer, kind="prompts", heldout_fraction=0.0).train
    assert [(row["prompt"][-1]["content"], row["answer"]) for row in rows] == [
        ("One?", "1"),
        ("Two?", "2"),
        ("Hello there, you!", None),
    ]


def test_texts_that_begin_with_their_prompt(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Cut at a word, and nothing is lost when prompt and completion are joined again."""
    write(
        tmp_path, [{"chosen": "The sky is green.", "rejected": "The sky is grey.", "source": "a book", "pair_id": "1"}]
    )
    (row,) = import_files(tmp_path, tiny_tokenizer).rows
    assert (row["prompt"][0]["content"], row["chosen"], row["rejected"]) == ("The sky is", " green.", " grey.")


def test_texts_beside_an_unread_column_have_their_prompt_there(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"context": "The sky?", "chosen": "The sky is blue.", "rejected": "The sky is red."}])
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert found.code == "missing_column" and "context" in found.message


def test_columns_are_mapped(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"q": "One?", "prompt": "not this", "good": "1", "bad": "2", "s": 0.5, "of": "me"}])
    names = {"prompt": "q", "chosen": "good", "rejected": "bad", "chosen_score": "s", "source": "of"}
    (row,) = import_files(tmp_path, tiny_tokenizer, columns=names).rows
    assert (row["prompt"], row["chosen"], row["chosen_score"], row["source"]) == ([user("One?")], "1", 0.5, "me")


def test_prompt_column_beside_whole_conversations(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """As in ultrafeedback_binarized: the prompt stands in its column and in both sides."""
    conversations = {side: PROMPT + AS_MESSAGES[side] for side in ("chosen", "rejected")}
    write(tmp_path, [{"prompt": PROMPT[0]["content"], **conversations}])
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert found.code == "prompt_repeated" and "set columns: {prompt: null} beside the files" in found.fix
    (row,) = import_files(tmp_path, tiny_tokenizer, columns={"prompt": None}).rows
    assert (row["prompt"], row["chosen"], row["rejected"]) == (PROMPT, CHOSEN, REJECTED)


def test_columns_mapped_for_another_kind_do_not_matter(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"prompt": "One?"}])
    assert len(import_files(tmp_path, tiny_tokenizer, kind="prompts", columns={"chosen": "good"}).rows) == 1


def test_text_that_only_looks_like_json_stays_text(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(1, chosen='[{"value": 1}]', rejected="[1, 2]")], "csv")
    (row,) = import_files(tmp_path, tiny_tokenizer).rows
    assert (row["chosen"], row["rejected"]) == ('[{"value": 1}]', "[1, 2]")


def test_odd_characters_survive(tmp_path: Path, tiny_tokenizer: Path) -> None:
    odd = 'a "quoted", line\nbreak \u2028 \x00 \u202e 😀 é</script>'
    for number, form in enumerate(FORMATS):
        write(tmp_path, [pair(number, chosen=odd)], form, number=number)
    assert {row["chosen"] for row in import_files(tmp_path, tiny_tokenizer).rows} == {odd}


def test_byte_order_marks_and_windows_line_ends(tmp_path: Path, tiny_tokenizer: Path) -> None:
    (tmp_path / "train").mkdir()
    line = json.dumps(pair(1)).encode() + b"\r\n"
    (tmp_path / "train/000.jsonl").write_bytes(b"\xef\xbb\xbf" + line)
    (tmp_path / "train/001.csv").write_bytes(b"\xef\xbb\xbfprompt,chosen,rejected\r\na?,b,c\r\n\r\nd?,e,f\r\n")
    (tmp_path / "train/002.json").write_bytes(b"\xef\xbb\xbf \r\n[" + json.dumps(pair(2)).encode() + b"]\r\n")
    (tmp_path / "train/003.json").write_bytes(json.dumps(pair(3)).encode() + b"\n")
    assert len(import_files(tmp_path, tiny_tokenizer).rows) == 5


def test_gzip_is_known_by_its_bytes(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, pairs(3), "jsonl.gz").rename(tmp_path / "train/000.jsonl")
    assert len(import_files(tmp_path, tiny_tokenizer).rows) == 3


def test_long_array_is_read_in_pieces(tmp_path: Path) -> None:
    """Rows longer than what is read at once, and numbers and escapes that a piece's end may cut."""
    rows = [{"text": 'é\\"' * (300_000 * (number % 3)), "number": number + 0.125} for number in range(12)]
    path = tmp_path / "long.json"
    path.write_text(json.dumps(rows))
    assert [raw.content for raw in read_file(path)] == rows
    assert [raw.number for raw in read_file(path)] == list(range(1, 13))


def test_dataset_with_splits(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Splits are the user's; caches beside the data are not rows; rows count within a split."""
    rows = pairs(30)
    write_dataset(tmp_path / "train/000/train", rows[:20])
    write_dataset(tmp_path / "train/000/test", rows[20:])
    (tmp_path / "train/000/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    cache = tmp_path / "train/000/train/cache-12ab.arrow"
    cache.write_bytes((tmp_path / "train/000/train/data-00000-of-00001.arrow").read_bytes())
    found = import_files(tmp_path, tiny_tokenizer)
    assert (len(found.train), len(found.heldout)) == (20, 10)


def test_place_of_a_row_in_a_dataset(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write_dataset(tmp_path / "train/000/test", pairs(4))
    write_dataset(tmp_path / "train/000/train", [pair(number) for number in range(10, 15)] + [pair(15, chosen=None)])
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert (found.file, found.row) == (str(tmp_path / "train/000/train"), 6)


def test_dataset_of_one_split_is_split_by_hash(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write_dataset(tmp_path / "train/000/train", pairs(60))
    found = import_files(tmp_path, tiny_tokenizer, heldout_fraction=0.5)
    assert found.heldout and found.train


def test_damaged_dataset(tmp_path: Path, tiny_tokenizer: Path) -> None:
    path = write(tmp_path, pairs(3), "dataset")
    (path / "data-00000-of-00001.arrow").write_bytes(b"not Arrow")
    assert [each.code for each in problems_of(tmp_path, tiny_tokenizer)] == ["unreadable_file"]
    (path / "data-00000-of-00001.arrow").unlink()
    assert [each.code for each in problems_of(tmp_path, tiny_tokenizer)] == ["unreadable_file"]


def test_folder_of_shards(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """As repositories on the hub lay them out."""
    folder = tmp_path / "train/000/data"
    folder.mkdir(parents=True)
    pq.write_table(table(pairs(6)), folder / "train-00000-of-00002.parquet")
    pq.write_table(table([pair(number) for number in range(7, 10)]), folder / "train-00001-of-00002.parquet")
    pq.write_table(table([pair(20, chosen=None), pair(21)]), folder / "test-00000-of-00001.parquet")
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert (found.file, found.row) == (f"{tmp_path}/train/000/data/test-00000-of-00001.parquet", 1)
    pq.write_table(table([pair(20), pair(21)]), folder / "test-00000-of-00001.parquet")
    assert len(import_files(tmp_path, tiny_tokenizer).heldout) == 2


def test_copies_in_hidden_folders_are_no_data(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path / "train/000/x", pairs(3)).rename(tmp_path / "train/000/pairs.jsonl")
    write(tmp_path / "train/000/.ipynb_checkpoints", pairs(3))
    assert len(import_files(tmp_path, tiny_tokenizer).rows) == 3


def test_what_datasets_saves(tmp_path: Path, tiny_tokenizer: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{**AS_MESSAGES, "prompt": [user(f"Number {number}?")]} for number in range(5)]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "train/000"), num_shards=2)
    datasets.DatasetDict({"train": datasets.Dataset.from_list(pairs(3))}).save_to_disk(str(tmp_path / "train/001"))
    assert len(import_files(tmp_path, tiny_tokenizer).rows) == 8


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_ways_to_hold_texts(kind: Any, tmp_path: Path, tiny_tokenizer: Path) -> None:
    whole = table(pairs(3))
    (tmp_path / "train").mkdir()
    pq.write_table(
        pa.table({name: whole[name].cast(kind) for name in whole.column_names}), tmp_path / "train/000.parquet"
    )
    assert len(import_files(tmp_path, tiny_tokenizer).rows) == 3


@pytest.mark.parametrize("form", ["parquet", "dataset"])
def test_bytes_in_a_text_column(form: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    whole = table(pairs(5))
    texts = [f"text {number}".encode() for number in range(5)]
    texts[3] = b"caf\xe9"
    chosen = pa.array(texts, pa.binary()).view(pa.string())
    spoilt = whole.set_column(1, "chosen", chosen)
    if form == "parquet":
        (tmp_path / "train").mkdir()
        pq.write_table(spoilt, tmp_path / "train/000.parquet")
    else:
        path = write(tmp_path, pairs(5), "dataset")
        with (
            pa.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as sink,
            pa.ipc.new_stream(sink, spoilt.schema) as out,
        ):
            out.write_table(spoilt)
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert (found.code, found.row) == ("undecodable_bytes", 4)


def test_checking_imports_no_model_library(tmp_path: Path, tiny_tokenizer: Path) -> None:
    path = write(tmp_path, pairs(3, {2: {"chosen": None}}))
    code = f"""
import sys
from pathlib import Path
from preflow.errors import DataError
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.importing import SourceFile, check_files
from preflow.text.tokenizer import Tokenizer
try:
    check_files([SourceFile(Path({str(path)!r}), "my/pairs.jsonl")], ImportSettings(), Tokenizer.load({str(tiny_tokenizer)!r}))
except DataError as error:
    assert [(each.file, each.row, each.code) for each in error.problems] == [("my/pairs.jsonl", 2, "null")], error.problems
else:
    raise AssertionError("not found")
heavy = {{"torch", "transformers", "mlflow", "pandas", "kfp", "datasets"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
