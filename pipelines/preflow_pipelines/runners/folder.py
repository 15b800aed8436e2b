"""A run's folder: $PREFLOW_HOME/runs/<id>. What it says is all that `runs`, `explain`, `compare` and tracking know."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.artifacts.files import write_json
from preflow.errors import SettingsError
from preflow.tracking.locks import is_held
from preflow.tracking.runs import CLUSTER


def ended_as(record: Mapping[str, Any]) -> str:
    """How a step ended, for people: the record's state, and STOPPED where somebody else ended it."""
    return "STOPPED" if (record["error"] or {}).get("type") == "Stopped" else str(record["state"])


@dataclass(frozen=True)
class RunFolder:
    """run.json, pipeline.json, steps/<task>.{log,step.json,progress.json,metrics.jsonl,record.json}, end.json."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def alive_lock(self) -> Path:
        return self.path / "alive.lock"

    def step_file(self, task: str, suffix: str) -> Path:
        return self.path / "steps" / f"{task}.{suffix}"

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None if it is not there (yet)."""
        try:
            return dict(json.loads((self.path / name).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return None

    def write(self, name: str, value: Any) -> None:
        write_json(self.path / name, value, indent=1)

    def task_of(self, step: str) -> str:
        """The task that a user means by `step`. Raises SettingsError for one that the run does not have."""
        name = step.replace("_", "-")
        if name not in self.about["tasks"]:
            raise SettingsError(f"run {self.id} has no step {step!r}. Its steps: {', '.join(self.about['order'])}.")
        return name

    @property
    def about(self) -> dict[str, Any]:
        found = self.read("run.json")
        if found is None:
            raise SettingsError(f"{self.path}: no run.json; not a run. See: preflow runs")
        return found

    def step_json(self, task: str) -> dict[str, Any] | None:
        return self.read(f"steps/{task}.step.json")

    def record(self, task: str) -> dict[str, Any] | None:
        return self.read(f"steps/{task}.record.json")

    def records(self) -> list[dict[str, Any]]:
        """Records of finished tasks, in the order of the workflow."""
        return [record for task in self.about["order"] if (record := self.record(task))]

    @property
    def state(self) -> str:
        """SUCCEEDED, FAILED, CANCELLED, RUNNING, or KILLED: neither ended nor alive."""
        end = self.read("end.json")
        if end:
            return str(end["state"])
        return "RUNNING" if self.cluster or is_held(self.alive_lock) else "KILLED"

    @property
    def cluster(self) -> dict[str, Any] | None:
        """Where the run is, if it is on a cluster: context, KFP run, namespace."""
        return self.read(CLUSTER)


def new_run_folder(home: Path) -> RunFolder:
    """A fresh folder whose name sorts by time."""
    name = time.strftime("%m%d-%H%M%S-") + secrets.token_hex(2)
    path = home / "runs" / name
    (path / "steps").mkdir(parents=True)
    (path / "tmp").mkdir()
    return RunFolder(path)


def all_runs(home: Path) -> Iterator[RunFolder]:
    """Runs that have a run.json, oldest first."""
    folders = [RunFolder(path.parent) for path in (home / "runs").glob("*/run.json")]
    yield from sorted(folders, key=lambda folder: folder.about["created"])


def find_run(home: Path, name: str) -> RunFolder:
    """A run by its id, the unique beginning or end of one, or `latest`. Raises SettingsError with what there is."""
    runs = list(all_runs(home))
    if name == "latest" and runs:
        return runs[-1]
    exact = [run for run in runs if run.id == name]
    close = [run for run in runs if run.id.startswith(name) or run.id.endswith(name)]
    if len(exact or close) == 1:
        return (exact or close)[0]
    recent = ", ".join(run.id for run in runs[-5:]) or "none yet"
    problem = f"{len(close)} runs match" if close else "no such run"
    raise SettingsError(f"run {name!r}: {problem} in {home / 'runs'}. Latest: {recent}. See: preflow runs")
