"""Data in: training rows and held-out rows."""

from dataclasses import dataclass
from typing import Any

from preflow.steps.import_data.component import import_data
from preflow_pipelines.subgraphs.context import Context


@dataclass(frozen=True)
class Imported:
    """Artifacts with the rows to train on and the rows held out."""

    train: Any
    heldout: Any


def imported(run: Context) -> Imported:
    """The run file's data; held-out rows come from the evaluation's own files where it names some."""
    task = import_data(
        files=run.input("data_files"), tokenizer=run.input("tokenizer"), settings=run.section("data"), key=""
    )
    if not run.has("evaluation_files"):
        return Imported(task.outputs["data"], task.outputs["heldout"])
    own = import_data(
        files=run.input("evaluation_files"),
        tokenizer=run.input("tokenizer"),
        settings=run.section("evaluation_data"),
        key="",
    )
    task.after(own)  # what is wrong with the evaluation's files is found before anything is trained
    return Imported(task.outputs["data"], own.outputs["heldout"])
