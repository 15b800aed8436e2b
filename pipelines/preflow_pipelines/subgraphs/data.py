"""Data in: training rows and held-out rows, and the rows beside them."""

from dataclasses import dataclass
from typing import Any

from preflow.settings.runfile import MORE_DATA
from preflow.steps.convert.component import convert
from preflow.steps.import_data.component import import_data
from preflow_pipelines.subgraphs.context import Context


@dataclass(frozen=True)
class Imported:
    """Artifacts with the rows to train on and the rows held out."""

    train: Any
    heldout: Any


def imported(run: Context) -> Imported:
    """The run file's data; held-out rows come from the evaluation's own files where it names some.

    Rows of another kind than the method's own are converted; those that are held out stay what they are, so that the same
    numbers are measured on them for every method.
    """
    task = _import(run, "data_files", "data")
    for name in MORE_DATA:
        if run.has(f"{name}_files"):
            run.tasks[f"{name}_data"] = _import(run, f"{name}_files", f"{name}_data")
            task.after(run.tasks[f"{name}_data"])  # what is wrong with any rows is found before anything is trained
    train = task.outputs["data"]
    if run.has("convert"):
        train = convert(data=train, settings=run.section("convert"), key="").outputs["converted"]
    if not run.has("evaluation_files"):
        return Imported(train, task.outputs["heldout"])
    own = _import(run, "evaluation_files", "evaluation_data")
    task.after(own)
    return Imported(train, own.outputs["heldout"])


def more_data(run: Context, name: str) -> Any:
    """The rows that the section `name` brings, or None where the run file has no such section."""
    rows = more_rows(run, name)
    return rows.train if rows else None


def more_rows(run: Context, name: str) -> Imported | None:
    """As `more_data`, with those of the section's rows that are held out. `imported` comes first."""
    task = run.tasks.get(f"{name}_data")
    return task and Imported(task.outputs["data"], task.outputs["heldout"])


def _import(run: Context, files: str, section: str) -> Any:
    return import_data(files=run.input(files), tokenizer=run.input("tokenizer"), settings=run.section(section), key="")
