"""Rows of Parquet files and of what `datasets` saves, a batch in memory at a time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_AT_ONCE = 1024
DATASET_FILES = {"state.json", "dataset_info.json", "dataset_dict.json"}
DATA_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}")


def read_parquet(path: Path) -> Iterator[dict[str, Any] | int]:
    """Rows; in place of a row with bytes that are not UTF-8 the first such byte. Raises pa.ArrowException, OSError."""
    with pq.ParquetFile(path, memory_map=True) as file:  # else whole column chunks are read
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            yield from _batch_rows(batch)


def read_arrow(path: Path) -> Iterator[dict[str, Any] | int]:
    """As `read_parquet`, for the Arrow streams of `datasets`."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield from _batch_rows(batch.slice(start, ROWS_AT_ONCE))


def _batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | int]:
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        rows = [_one_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
    yield from rows


def _one_row(batch: pa.RecordBatch) -> dict[str, Any] | int:
    try:
        row: dict[str, Any] = batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return error.object[error.start]
    return row


def dataset_parts(folder: Path) -> list[tuple[str | None, list[Path]]]:
    """(split, files) of a folder, the split as the folder or the shards name it; None where nothing names one.

    Where save_to_disk left its state.json, only the files named there count: caches of `map` may lie beside them.
    """
    states = sorted(path for path in folder.rglob("state.json") if not is_hidden(path, folder))
    if states:
        return [(state.parent.name if state.parent != folder else None, _files_of(state)) for state in states]
    there = sorted(path for path in folder.rglob("*") if path.is_file() and not is_hidden(path, folder))
    files = [path for path in there if not path.name.startswith("cache-")]
    arrows = [path for path in files if path.suffix == ".arrow"]
    named = [path for path in files if path.name.lower().endswith(DATA_SUFFIXES) and path.name not in DATASET_FILES]
    parts: dict[str | None, list[Path]] = {}
    for path in arrows or named:
        shard = SHARD.match(path.name)
        inside = path.parent.name if path.parent not in (folder, folder / "data") else None
        parts.setdefault(shard["split"] if shard else inside or path.name.split(".")[0], []).append(path)
    return list(parts.items())


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file below a folder is nobody's data: copies that editors and version control keep."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _files_of(state: Path) -> list[Path]:
    try:
        return [
            state.parent / each["filename"] for each in json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{state.name} names no data files: {error!r}") from None
