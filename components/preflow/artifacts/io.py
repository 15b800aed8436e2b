"""Reading and writing artifacts with rows: Parquet (zstd), the kind stamped inside the file, streamed in row groups.

pandas stays out of every light step: `pa.array`, `Table.from_pylist` and `pq.read_table` import it (0.9 s), so rows are
written through `pyarrow.json` with an explicit schema and read through `iter_batches`.
"""

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from preflow.artifacts.files import publish_file
from preflow.artifacts.kinds import KINDS, Kind
from preflow.errors import ArtifactError

ROWS_PER_GROUP = 4096
BYTES_PER_GROUP = 32 << 20
STAMP, FACTS = b"preflow.kind", b"preflow.facts"

Facts = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Stamp:
    """What a file says about itself."""

    kind: str
    rows: int
    facts: dict[str, Any]


class RowWriter:
    """Writes rows of a kind; publishes on a clean exit and leaves nothing behind on an error.

    Missing columns become null. Raises ArtifactError with the row and the column for a value of a wrong type, a null in
    a required column, an unknown column, or NaN.
    """

    def __init__(self, path: str | Path, kind: Kind, facts: Facts = MappingProxyType({})):
        self.path, self.kind, self.rows = Path(path), kind, 0
        self._facts = dict(facts)
        self._lines: list[str] = []
        self._bytes = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(publish_file(self.path))
        self._writer = pq.ParquetWriter(self._temporary, self.kind.schema, compression="zstd")
        return self

    def fact(self, name: str, value: str | int | float) -> None:
        """Add a fact to the file's own metadata."""
        self._facts[name] = value

    def write(self, row: Mapping[str, Any]) -> None:
        self._check(row)
        line = json.dumps(row, ensure_ascii=True, allow_nan=False)
        self._lines.append(line)
        self._bytes += len(line)
        self.rows += 1
        if len(self._lines) >= ROWS_PER_GROUP or self._bytes >= BYTES_PER_GROUP:
            self._flush()

    def write_many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.write(row)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if kind is None:
            try:
                self._flush()
                metadata = {STAMP: self.kind.stamp.encode(), FACTS: json.dumps(self._facts).encode()}
                self._writer.add_key_value_metadata(metadata)
            except BaseException as failure:
                self._writer.close()
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._writer.close()
        return self._stack.__exit__(kind, error, trace)

    def _check(self, row: Mapping[str, Any]) -> None:
        for name in self.kind.required:
            if row.get(name) is None:
                raise ArtifactError(
                    f"{self.path.name} row {self.rows + 1}: no {name!r}; {self.kind.stamp} needs it in every row."
                )
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ArtifactError(
                    f"{self.path.name} row {self.rows + 1}: {name} is {value}, expected a finite number."
                )

    def _flush(self) -> None:
        if not self._lines:
            return
        first = self.rows - len(self._lines)
        self._writer.write_table(_table(self._lines, self.kind, self.path.name, first))
        self._lines, self._bytes = [], 0


def _table(lines: Sequence[str], kind: Kind, name: str, first: int) -> pa.Table:
    data = "\n".join(lines).encode()
    options = pa_json.ParseOptions(explicit_schema=kind.schema, unexpected_field_behavior="error")
    reading = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    try:
        table = pa_json.read_json(io.BytesIO(data), read_options=reading, parse_options=options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if len(lines) > 1:
            for index, line in enumerate(lines):
                _table([line], kind, name, first + index)
        raise ArtifactError(f"{name} row {first + 1}: does not fit {kind.stamp}: {error}") from None
    return table.select(kind.schema.names)


def write_rows(
    path: str | Path, kind: Kind, rows: Iterable[Mapping[str, Any]], facts: Facts = MappingProxyType({})
) -> int:
    """Write all rows and return how many. The file appears whole or not at all; a file that was there is replaced."""
    with RowWriter(path, kind, facts) as writer:
        writer.write_many(rows)
    return writer.rows


def read_stamp(path: str | Path) -> Stamp:
    """The stamp inside a file. Raises ArtifactError if it is no artifact of ours."""
    metadata = _open(path).metadata
    inside = metadata.metadata or {}
    if STAMP not in inside:
        raise ArtifactError(
            f"{path}: a Parquet file without our stamp. Expected an artifact; import data with import_data."
        )
    return Stamp(inside[STAMP].decode(), metadata.num_rows, json.loads(inside.get(FACTS, b"{}")))


def read_rows(
    path: str | Path, kinds: Kind | Sequence[Kind], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows as dicts, one batch in memory at a time. The stamp is checked before the first row is asked for."""
    expect_kind(path, kinds)
    return _rows(path, columns)


def expect_kind(path: str | Path, kinds: Kind | Sequence[Kind]) -> Kind:
    """The kind of a file, if it is one of `kinds`. Raises ArtifactError otherwise."""
    wanted = [kinds] if isinstance(kinds, Kind) else list(kinds)
    stamp = read_stamp(path)
    if stamp.kind not in {kind.stamp for kind in wanted}:
        names = " or ".join(kind.stamp for kind in wanted)
        raise ArtifactError(f"{path}: holds {stamp.kind}, expected {names}. Connect the step that makes {names}.")
    return KINDS[stamp.kind]


def _rows(path: str | Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        for batch in file.iter_batches(batch_size=1024, columns=list(columns) if columns else None):
            yield from batch.to_pylist()


def _open(path: str | Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such artifact. Run the step that makes it.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: not a whole Parquet file ({error}). Delete it and run the step again.") from None
