"""Runs side by side, from their folders alone: the settings that differ, and what each of them brought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflow.tracking.journal import latest
from preflow.tracking.labels import run_name, run_parameters
from preflow.tracking.runs import RunView

Table = Mapping[str, list[Any]]  # name -> a value per run, None where a run has none


@dataclass(frozen=True)
class Comparison:
    """`settings` holds what differs, `metrics` the last value of every metric, headline metrics (eval/) first."""

    runs: list[dict[str, Any]]
    settings: Table
    metrics: Table

    def as_dict(self) -> dict[str, Any]:
        """For programs: a value per run id."""
        ids = [run["id"] for run in self.runs]
        tables = {"settings": self.settings, "metrics": self.metrics}
        named = {
            name: {key: dict(zip(ids, row, strict=True)) for key, row in table.items()}
            for name, table in tables.items()
        }
        return {"runs": self.runs, **named}


def compare(views: Sequence[RunView]) -> Comparison:
    """Compare runs, in the order given."""
    settings = _table([run_parameters(view.about) for view in views])
    metrics = _table([final_metrics(view) for view in views])
    differing = {name: row for name, row in settings.items() if any(value != row[0] for value in row)}
    ordered = sorted(metrics, key=lambda name: (not name.startswith("eval/"), not name.startswith("train/"), name))
    return Comparison([_about(view) for view in views], differing, {name: metrics[name] for name in ordered})


def final_metrics(view: RunView) -> dict[str, float]:
    """The last value of every metric in the journals of a run, the later step's where two say the same."""
    found: dict[str, float] = {}
    for task in view.tasks:
        if task.journal is not None:
            found |= latest(task.journal)
    return found


def _about(view: RunView) -> dict[str, Any]:
    seconds = round(view.ended - view.about["created"], 1) if view.ended else None
    name, created = run_name(view.about), view.about["created"]
    return {
        "id": view.id,
        "name": name,
        "method": view.about["method"],
        "state": view.state,
        "created": created,
        "seconds": seconds,
    }


def _table(columns: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for column in columns for name in column))
    return {name: [column.get(name) for column in columns] for name in names}
