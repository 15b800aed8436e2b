"""Far into big files: defects are found at their rows, in each format, and memory stays bounded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_files import pair, write
from preflow.errors import DataError
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.importing import SourceFile, check_files
from preflow.text.tokenizer import Tokenizer

LAST = 100_003
LAST_TEXT = b"No idea, the last one."
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


# what becomes of the last row: its code, and what its text is replaced by
SPOILT = {
    "jsonl": ("broken_json", b'"' + LAST_TEXT + b'"}', b'"No'),
    "json": ("undecodable_bytes", LAST_TEXT, b"caf\xe9"),
    "csv": ("ragged_row", b'"' + LAST_TEXT + b'"', b"No,idea,at,all"),
    "parquet": ("undecodable_bytes", LAST_TEXT, b"caf\xe9"),
    "dataset": ("undecodable_bytes", LAST_TEXT, b"caf\xe9"),
}


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet", "dataset"])
def test_several_defects_at_once(form: str, tmp_path: Path) -> None:
    rows = [pair(number, **DEFECTS.get(number, ("", {}))[1]) for number in range(1, LAST + 1)]
    rows[-1]["rejected"] = "No idea, the last one."
    path = write(tmp_path, rows, form)
    spoil(path, form)
    with pytest.raises(DataError) as caught:
        check_files([SourceFile(path, "mine")], ImportSettings(), None)
    found = {problem.row: problem.code for problem in caught.value.problems}
    assert found == {row: code for row, (code, _) in DEFECTS.items()} | {LAST: SPOILT[form][0]}
    assert caught.value.total == len(DEFECTS) + 1


def spoil(path: Path, form: str) -> None:
    _, old, new = SPOILT[form]
    if form == "parquet":
        pq.write_table(_spoilt(pq.read_table(path), old, new), path)
    elif form == "dataset":
        file = path / "data-00000-of-00001.arrow"
        with pa.OSFile(str(file)) as source:
            whole = _spoilt(pa.ipc.open_stream(source).read_all(), old, new)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, whole.schema) as out:
            out.write_table(whole)
    else:
        data = path.read_bytes()
        assert data.count(old) == 1
        path.write_bytes(data.replace(old, new))


def _spoilt(whole: pa.Table, old: bytes, new: bytes) -> pa.Table:
    texts = [text.encode().replace(old, new) for text in whole["rejected"].to_pylist()]
    return whole.set_column(2, "rejected", pa.array(texts, pa.binary()).view(pa.string()))


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
import sys
from pathlib import Path
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.importing import SourceFile, check_files
check_files([SourceFile(Path(sys.argv[1]), "mine")], ImportSettings(), None)
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(line.split()[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its peak memory from /proc")
@pytest.mark.parametrize("form", ["json", "csv"])
def test_memory_does_not_grow_with_the_texts(form: str, tmp_path: Path) -> None:
    """80 MB of text in 4,000 rows; the libraries alone take about 100 MB."""
    filler = "word " * 4000
    path = write(tmp_path, (pair(number, chosen=f"{number} {filler}") for number in range(4000)), form)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 165, f"{form}: {done.stdout} MB"
