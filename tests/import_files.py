"""Files as users bring them, in every format, and what `import_data` makes of them."""

import csv
import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from preflow.artifacts.io import read_rows
from preflow.errors import DataError, Problem
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.step import run
from preflow.steps.kit import Step

FORMATS = ("jsonl", "jsonl.gz", "json", "csv", "csv.gz", "parquet", "dataset")
OUTPUTS = ("data", "heldout", "rejects", "numbers", "page")


def pair(number: int, **changes: Any) -> dict[str, Any]:
    row = {"prompt": f"What is {number} plus one?", "chosen": f"It is {number + 1}.", "rejected": f"No idea, {number}."}
    return row | changes


def pairs(count: int, changes: dict[int, dict[str, Any]] = {}) -> list[dict[str, Any]]:  # noqa: B006
    """Good pairs in rows 1 to `count`, but for the `changes` of some."""
    return [pair(number, **changes.get(number, {})) for number in range(1, count + 1)]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def write(
    folder: Path, rows: Iterable[dict[str, Any]], form: str = "jsonl", split: str = "train", number: int = 0
) -> Path:
    """Write rows as a staged file of a format; the path."""
    path = folder / split / (f"{number:03d}" if form == "dataset" else f"{number:03d}.{form}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "dataset":
        write_dataset(path, rows)
    elif form == "parquet":
        pq.write_table(table(rows), path)
    else:
        data = {"jsonl": _lines, "json": _array, "csv": _cells}[form.removesuffix(".gz")](list(rows))
        path.write_bytes(gzip.compress(data, 1) if form.endswith(".gz") else data)
    return path


def table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def write_dataset(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """As `datasets` writes with save_to_disk: Arrow streams, named in state.json."""
    folder.mkdir(parents=True)
    whole = table(rows)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, whole.schema) as out,
    ):
        out.write_table(whole, max_chunksize=1000)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text("{}")


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _array(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def _cells(rows: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in row.items()})
    return text.getvalue().encode()


class Imported:
    """The outputs of a run of the step."""

    def __init__(self, folder: Path, step: Step):
        self.folder, self.step = folder, step
        self.train, self.heldout = (list(read_rows(folder / name, self.kind(name))) for name in ("data", "heldout"))
        self.numbers = json.loads((folder / "numbers").read_text())
        self.rejects = [json.loads(line) for line in (folder / "rejects").read_text().splitlines()]
        self.page = (folder / "page").read_text()
        self.warnings = step._journal["warnings"]

    def kind(self, name: str) -> Any:
        from preflow.artifacts.io import read_stamp
        from preflow.artifacts.kinds import KINDS

        return KINDS[read_stamp(self.folder / name).kind]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.train + self.heldout


def import_files(folder: Path, tokenizer: Path, **settings: Any) -> Imported:
    """Run the step on what `write` staged below `folder`. Raises DataError."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    step = Step.detached(out, ImportSettings(**settings).canonical(), "import_data")
    run(step, files=str(folder), tokenizer=str(tokenizer), **{name: str(out / name) for name in OUTPUTS})
    return Imported(out, step)


def problems_of(folder: Path, tokenizer: Path, **settings: Any) -> list[Problem]:
    """The problems that stop an import; none if nothing does."""
    try:
        import_files(folder, tokenizer, **settings)
    except DataError as error:
        assert not [path for path in (folder / "out").iterdir() if path.is_file()], "something was written"
        return list(error.problems)
    return []
