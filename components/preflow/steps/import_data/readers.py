"""Raw rows of the formats people have, one at a time, each with the number that a message about it names.

Rows count from 1; in line-based files (JSONL) the number is the line's. A row that cannot be read is a RowError of its
own, and the rows after it are still read.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from preflow.steps.import_data.json_arrays import read_json_array
from preflow.steps.import_data.problems import RowError
from preflow.steps.import_data.tables import dataset_parts, read_arrow, read_parquet

SPLIT_KEY = "__split__"
MAX_CELL = 16 << 20
ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""How Python's `surrogateescape` keeps a byte that is not UTF-8."""
ARRAY_START = re.compile(rb"\s*\[\s*(\{|$)")


@dataclass(slots=True)
class RawRow:
    """`content` is the row's columns, or what made it unreadable. `number` 0 means the whole file.

    `part` names what the row belongs to inside of a folder; `text` is what stood there if it could not be read.
    """

    number: int
    content: dict[str, Any] | RowError
    part: str = ""
    text: str | None = None


def read_file(path: Path) -> Iterator[RawRow]:
    """Rows of a file, or of the folder of a saved dataset."""
    try:
        yield from _folder(path) if path.is_dir() else _reader(path)(path)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        message = f"cannot be read to its end ({error})."
        yield RawRow(0, RowError("unreadable_file", message, "Check that the file is whole, or write it again."))


def has_header(path: Path) -> bool:
    """Whether the columns are the same in every row, so that one that is missing is missing everywhere."""
    if path.is_dir():
        return any(file.suffix == ".arrow" for _, files in dataset_parts(path) for file in files)
    return path.name.lower().endswith((".csv", ".csv.gz", ".parquet"))


def _reader(path: Path) -> Callable[[Path], Iterator[RawRow]]:
    name = path.name.lower()
    reader = next((reader for suffix, reader in READERS.items() if name.endswith(suffix)), _unknown_format)
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if reader is not _parquet and reader is not _unknown_format and is_parquet:
        return _wrong_suffix("Parquet", ".parquet")
    return reader


def _unknown_format(path: Path) -> Iterator[RawRow]:
    found = f"suffix {path.suffix}" if path.suffix else "no suffix"
    fix = f"Use one of {', '.join(READERS)}, or a folder of `datasets`."
    yield RawRow(0, RowError("unknown_format", f"{found}, which is no format of ours.", fix))


def _wrong_suffix(content: str, suffix: str) -> Callable[[Path], Iterator[RawRow]]:
    def reader(path: Path) -> Iterator[RawRow]:
        message = f"holds {content}, which its suffix {path.suffix} does not say."
        yield RawRow(0, RowError("wrong_suffix", message, f"Rename it to end in {suffix}."))

    return reader


def _open(path: Path) -> IO[bytes]:
    """Gzip is known by its first bytes, whatever the name says."""
    file = path.open("rb")
    if file.read(2) == b"\x1f\x8b" or path.suffix.lower() == ".gz":
        file.close()
        return gzip.open(path, "rb")  # type: ignore[return-value]
    file.seek(0)
    return file


def _json_lines(path: Path) -> Iterator[RawRow]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
                if ARRAY_START.match(line):
                    yield from _wrong_suffix("a JSON array", ".json")(path)
                    return
            if line.strip():
                content = _json_row(line)
                text = line.decode("utf-8", "backslashreplace") if isinstance(content, RowError) else None
                yield RawRow(number, content, text=text)


def _json_row(line: bytes) -> dict[str, Any] | RowError:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return undecodable(error.object[error.start])
    except (ValueError, RecursionError) as error:
        return RowError("broken_json", f"not valid JSON ({error}).", "Mend the line: one JSON object per line.")
    return value if isinstance(value, dict) else not_an_object(value)


def not_an_object(value: Any) -> RowError:
    found = f"a JSON {type(value).__name__}, expected an object."
    return RowError("wrong_type", found, 'Write rows as {"prompt": ..., ...}.')


def undecodable(byte: int) -> RowError:
    return RowError("undecodable_bytes", f"byte 0x{byte:02x} is not UTF-8.", "Save the file as UTF-8, or mend the row.")


def _json_file(path: Path) -> Iterator[RawRow]:
    """A JSON array of objects; or JSON lines under the wrong suffix."""
    with _open(path) as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"["):
        yield from _json_lines(path)
        return
    with _open(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape")
        for number, (value, source) in enumerate(read_json_array(text), 1):
            if isinstance(value, RowError):
                yield RawRow(number, value, text=source)
            elif bad := ESCAPED_BYTE.search(source):
                yield RawRow(number, undecodable(ord(bad[0]) - 0xDC00), text=source)
            elif isinstance(value, dict):
                yield RawRow(number, value)
            else:
                yield RawRow(number, not_an_object(value), text=source)


def _csv(path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(MAX_CELL)
    with _open(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            _check_header(header)
        except csv.Error as error:
            yield RawRow(0, _broken_csv(f"its header is not valid CSV ({error})."))
            return
        except RowError as error:
            yield RawRow(0, error)
            return
        number = 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                yield RawRow(number, _broken_csv(f"not valid CSV ({error})."))
                continue
            if cells:  # an empty line is no row
                number += 1
                content = _csv_row(header, cells)
                yield RawRow(number, content, text=",".join(cells) if isinstance(content, RowError) else None)


def _broken_csv(message: str) -> RowError:
    return RowError("broken_csv", message, "Quote cells that hold commas, quotes or line breaks; double quotes inside.")


def _check_header(header: list[str]) -> None:
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise RowError("duplicate_column", f"the header names {twice!r} twice.", "Rename or remove one of the columns.")
    if bad := ESCAPED_BYTE.search("".join(header)):
        raise undecodable(ord(bad[0]) - 0xDC00)
    if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), None)):
        raise RowError("broken_csv", f"its cells are separated by {other!r}.", "Save it with commas between the cells.")


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | RowError:
    if len(cells) != len(header):
        message = f"{len(cells)} cells, the header has {len(header)}."
        return RowError("ragged_row", message, "Quote cells that hold commas or line breaks.")
    for cell in cells:
        if not cell.isascii() and (bad := ESCAPED_BYTE.search(cell)):
            return undecodable(ord(bad[0]) - 0xDC00)
    return dict(zip(header, cells, strict=True))


def _parquet(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as file:
        start = file.read(4)
    if start and start != b"PAR1":
        raise OSError("it does not begin as a Parquet file does")
    for number, content in enumerate(_decoded(read_parquet(path)), 1):
        yield RawRow(number, content)


def _decoded(rows: Iterator[dict[str, Any] | int]) -> Iterator[dict[str, Any] | RowError]:
    for row in rows:
        yield undecodable(row) if isinstance(row, int) else row


def _folder(folder: Path) -> Iterator[RawRow]:
    """What `datasets` save_to_disk writes (a Dataset, or a DatasetDict with its splits), or a folder of data files."""
    parts = [(part, file) for part, files in dataset_parts(folder) for file in files]
    if not parts:
        yield RawRow(0, RowError("unknown_format", "a folder without data files.", "Save it with save_to_disk."))
    splits = {part for part, _ in parts}
    current, number = None, 0
    for part, file in parts:
        split = part if len(splits) > 1 else None
        label = part or ""
        if file.suffix == ".arrow":
            number = number if part == current else 0
            rows = (RawRow(0, content) for content in _decoded(read_arrow(file)))
        else:
            label, number = file.relative_to(folder).as_posix(), 0
            rows = read_file(file)  # type: ignore[assignment]
        current = part
        for row in rows:
            number += 1
            content = {**row.content, SPLIT_KEY: split} if split and isinstance(row.content, dict) else row.content
            yield RawRow(number if file.suffix == ".arrow" else row.number, content, label, row.text)


READERS: dict[str, Callable[[Path], Iterator[RawRow]]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json_file,
    ".json.gz": _json_file,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".parquet": _parquet,
}
