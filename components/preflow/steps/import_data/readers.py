"""Raw rows of the formats people have, one at a time, each with the number that a message about it names.

Rows count from 1; in line-based files (JSONL) the number is the line's. A row that cannot be read is a RowError of its
own, and the rows after it are still read.
"""

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

MAX_JSON_BYTES = 512 << 20
SPLIT_KEY = "__split__"


class RowError(Exception):
    """What is wrong with a row: `code`, `message` (found and expected) and `fix`."""

    def __init__(self, code: str, message: str, fix: str):
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


@dataclass(frozen=True)
class RawRow:
    """`content` is the row's columns, or what made it unreadable. `number` 0 means the whole file."""

    number: int
    content: dict[str, Any] | RowError


def read_file(path: Path) -> Iterator[RawRow]:
    """Rows of a file, or of the folder of a saved dataset."""
    if path.is_dir():
        yield from _saved_dataset(path)
        return
    name = path.name.lower()
    reader = next((reader for suffix, reader in READERS.items() if name.endswith(suffix)), None)
    if reader is None:
        found = path.suffix or "no suffix"
        yield RawRow(0, RowError("unknown_format", f"{found} is no format of ours.", f"Use one of {', '.join(READERS)}, or a folder of `datasets`."))
        return
    try:
        yield from reader(path)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        yield RawRow(0, RowError("unreadable_file", f"cannot be read ({error}).", "Check that the file is whole."))


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json_lines(path: Path) -> Iterator[RawRow]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield RawRow(number, _json_row(line))


def _json_row(line: bytes) -> dict[str, Any] | RowError:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _undecodable(error.object[error.start : error.start + 1])
    except ValueError as error:
        return RowError("broken_json", f"not valid JSON ({error}).", "Mend the line; one JSON object per line is expected.")
    if not isinstance(value, dict):
        return RowError("wrong_type", f"a JSON {type(value).__name__}, expected an object.", 'Write {"prompt": ..., ...} on each line.')
    return value


def _undecodable(byte: bytes) -> RowError:
    return RowError("undecodable_bytes", f"byte 0x{byte.hex()} is not UTF-8.", "Save the file as UTF-8, or mend the row.")


def _json_file(path: Path) -> Iterator[RawRow]:
    """A JSON array of objects; or JSON lines under the wrong suffix."""
    with _open(path) as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"["):
        yield from _json_lines(path)
        return
    if path.stat().st_size > MAX_JSON_BYTES:
        yield RawRow(0, RowError("too_large", "a JSON array of this size does not fit into memory.", "Save it as JSON lines (.jsonl)."))
        return
    with _open(path) as file:
        data = file.read()
    try:
        values = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b'"prompt"') or data[: error.start].count(b"{")
        yield RawRow(max(1, row), _undecodable(data[error.start : error.start + 1]))
        return
    except json.JSONDecodeError as error:
        yield RawRow(0, RowError("broken_json", f"not valid JSON ({error}).", "Mend the file; an array of objects is expected."))
        return
    for number, value in enumerate(values, 1):
        found = type(value).__name__
        yield RawRow(number, value if isinstance(value, dict) else RowError("wrong_type", f"a JSON {found}, expected an object.", "Write an array of objects."))


def _csv(path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(sys.maxsize)
    with _open(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, strict=True)
        header = next(reader, None)
        if header is None:
            return
        number = 0
        while True:
            number += 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield RawRow(number, RowError("broken_csv", f"not valid CSV ({error}).", "Quote cells that hold commas, quotes or line breaks."))
                continue
            if cells:
                yield RawRow(number, _csv_row(header, cells))
            else:
                number -= 1


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | RowError:
    if len(cells) != len(header):
        return RowError("ragged_row", f"{len(cells)} cells, the header has {len(header)}.", "Quote cells that hold commas or line breaks.")
    for cell in cells:
        if not cell.isascii():
            bad = next((char for char in cell if "\udc80" <= char <= "\udcff"), None)
            if bad:
                return _undecodable(bytes([ord(bad) - 0xDC00]))
    return {name: _csv_cell(cell) for name, cell in zip(header, cells, strict=True)}


def _csv_cell(cell: str) -> Any:
    """Messages in a cell are JSON; everything else is text."""
    if cell.startswith("[{") and cell.endswith("}]"):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell


def _parquet(path: Path) -> Iterator[RawRow]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        yield RawRow(0, RowError("unreadable_file", f"not a whole Parquet file ({error}).", "Write the file again."))
        return
    number = 0
    with file:
        for batch in file.iter_batches(batch_size=1024):
            for row in _batch_rows(batch):
                number += 1
                yield RawRow(number, row)


def _batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | RowError]:
    """Rows of a batch; text columns with bytes that are not UTF-8 are found row by row."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield _undecodable(error.object[error.start : error.start + 1])


def _saved_dataset(folder: Path) -> Iterator[RawRow]:
    """What `datasets` save_to_disk writes (a Dataset, or a DatasetDict with its split names), or a folder of data files."""
    arrows = sorted(folder.rglob("*.arrow"))
    files = arrows or sorted(path for path in folder.rglob("*") if path.name.lower().endswith(tuple(READERS)) and path.name not in DATASET_FILES)
    if not files:
        yield RawRow(0, RowError("unknown_format", "a folder without data files.", "Save it with datasets' save_to_disk."))
    number = 0
    for path in files:
        split = path.parent.name if path.parent != folder else None
        rows = _arrow(path) if arrows else (row.content for row in read_file(path))
        for content in rows:
            number += 1
            if split and isinstance(content, dict):
                content = {**content, SPLIT_KEY: split}
            yield RawRow(number, content)


def _arrow(path: Path) -> Iterator[dict[str, Any] | RowError]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            for start in range(0, batch.num_rows, 1024):
                yield from _batch_rows(batch.slice(start, 1024))


DATASET_FILES = {"state.json", "dataset_info.json", "dataset_dict.json"}
READERS: dict[str, Callable[[Path], Iterator[RawRow]]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json_file,
    ".json.gz": _json_file,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".parquet": _parquet,
}
