"""Far into big files: defects are found at their rows, in each format, and memory stays bounded."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from import_files import FORMATS, assistant, pair, user, write
from preflow.errors import DataError
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.importing import SourceFile, check_files
from preflow.text.tokenizer import Tokenizer

LAST = 100_003
MESSAGES = {"chosen": [user("Go on!"), assistant("Yes.")]}
# row: (code, what the row has instead); the same in every format, so nothing that a typed column could not hold
DEFECTS: dict[int, tuple[str, dict[str, Any]]] = {
    17: ("empty_completion", {"rejected": ""}),
    60_000: ("prompt_repeated", {"chosen": "What is 60000 plus one? Many."}),
    99_998: ("chosen_equals_rejected", {"chosen": "So.", "rejected": "So."}),
    99_999: ("duplicate", pair(42)),
    100_000: ("empty_prompt", {"prompt": " "}),
    100_001: ("opposite_pair", {**pair(43), "chosen": pair(43)["rejected"], "rejected": pair(43)["chosen"]}),
    100_002: ("broken_json", {"prompt": "[{'role': 'user', 'content': 'As Python shows it.'}]"}),
}


@pytest.mark.parametrize("form", FORMATS)
def test_several_defects_at_once(form: str, tmp_path: Path) -> None:
    rows = [pair(number, **DEFECTS.get(number, ("", {}))[1]) for number in range(1, LAST + 1)]
    path = write(tmp_path, rows, form)
    with pytest.raises(DataError) as caught:
        check_files([SourceFile(path, "mine")], ImportSettings(), None)
    found = {problem.row: problem.code for problem in caught.value.problems}
    assert found == {row: code for row, (code, _) in DEFECTS.items()}
    assert caught.value.total == len(DEFECTS)


def spoil_line(old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(old, new))

    return spoil


def spoil_parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(_spoilt(pq.read_table(path)), path)


def spoil_dataset(path: Path) -> None:
    file = path / "data-00000-of-00001.arrow"
    with pa.OSFile(str(file)) as source:
        whole = _spoilt(pa.ipc.open_stream(source).read_all())
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, whole.schema) as out:
        out.write_table(whole)


def _spoilt(whole: pa.Table) -> pa.Table:
    texts = [text.encode().replace(b"No idea, 100000.", b"caf\xe9") for text in whole["rejected"].to_pylist()]
    return whole.set_column(2, "rejected", pa.array(texts, pa.binary()).view(pa.string()))


BYTES = spoil_line(b"No idea, 100000.", b"caf\xe9")
SPOILT = {
    "jsonl": BYTES, "json": BYTES, "csv": BYTES, "parquet": spoil_parquet, "dataset": spoil_dataset,
    "jsonl broken": spoil_line(b'"No idea, 100000."}', b'"No idea'),
    "json broken": spoil_line(b'"No idea, 100000."', b'"No idea'),
    "csv broken": spoil_line(b",It is 100001.,", b',"It is" 100001.,'),
    "csv ragged": spoil_line(b",It is 100001.,", b",It is 100001.,,"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_unreadable_row(name: str, tmp_path: Path) -> None:
    form, _, how = name.partition(" ")
    path = write(tmp_path, (pair(number) for number in range(1, LAST + 1)), form)
    SPOILT[name](path)
    with pytest.raises(DataError) as caught:
        check_files([SourceFile(path, "mine")], ImportSettings(), None)
    (found,) = caught.value.problems
    expected = {"": "undecodable_bytes", "broken": f"broken_{form.removesuffix('l')}", "ragged": "ragged_row"}[how]
    assert (found.code, found.row) == (expected, 100_000)


def test_tokens_are_counted_up_to_the_end(tmp_path: Path, tiny_model: Path) -> None:
    """A row is judged by its own tokens, whatever batch it is encoded in."""
    import tiny

    tokenizer = Tokenizer.load(tiny.stage(tiny_model, tmp_path / "tokenizer", max_prompt_tokens=2048))
    rows = [{"prompt": f"{number}?", "chosen": "a", "rejected": "b"} for number in range(5000)]
    rows[4321]["prompt"] = "cat " * 3000
    path = write(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        check_files([SourceFile(path, "mine")], ImportSettings(), tokenizer)
    assert [(each.row, each.code) for each in caught.value.problems] == [(4322, "completion_truncated_away")]


MEASURE = """
import resource, sys
from pathlib import Path
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.importing import SourceFile, check_files
check_files([SourceFile(Path(sys.argv[1]), "mine")], ImportSettings(), None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet", "dataset"])
def test_memory_does_not_grow_with_the_texts(form: str, tmp_path: Path) -> None:
    """120 MB of text in 20,000 rows."""
    filler = "word " * 1000
    path = write(tmp_path, (pair(number, chosen=f"{number} {filler}") for number in range(24_000)), form)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 260, f"{form}: {done.stdout} MB"
