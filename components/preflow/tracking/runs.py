"""Run folders as tracking sees them: what a run said about itself, read again and again while it goes.

Needs neither mlflow nor the code that submits. Files that are not there yet, or that are half written, count as absent.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflow.errors import ArtifactError
from preflow.tracking.journal import Journal, read_journal
from preflow.tracking.lineage import final_task, page_evaluation, training_tasks
from preflow.tracking.locks import is_held

Point = Mapping[str, Any]
# The task whose policy is the run's: the first of these steps that the workflow has, in its last occurrence.
POLICY_STEPS = ("train_preference", "train_rl", "sft")
EVALUATION_STEP, KNOWLEDGE_STEP, REPORT_STEP = "evaluate", "evaluate_unlearning", "report"
CLUSTER = "cluster.json"
"""In the folder of a run on a cluster: where it is, and what Kubeflow Pipelines calls it."""
STOPPED_BY_OTHERS = {"Killed", "Stopped"}


@dataclass(frozen=True)
class TaskView:
    """A task that has begun. `state`: RUNNING, EXECUTED, CACHED, FAILED or KILLED; times in seconds (epoch)."""

    task: str
    step: str
    state: str
    started: float
    ended: float | None
    settings: Mapping[str, Any]
    key: str
    points: list[Point]
    journal: Journal | None
    outputs: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: str | None = None
    error: Mapping[str, Any] | None = None
    uris: Mapping[str, str] = field(default_factory=dict)
    """Where the outputs were written, as arguments name them, wherever they are now."""


@dataclass(frozen=True)
class RunView:
    """A run, tasks by their start. `state`: RUNNING, SUCCEEDED, FAILED, CANCELLED, KILLED (neither ended nor alive).

    `final` is the task that makes the run's model, `trainings` are those that lead to it, `evaluation` is the one that the
    run's page shows; they may not have begun yet. `cluster` is what its folder says of a cluster that it is on.
    """

    folder: Path
    about: Mapping[str, Any]
    state: str
    ended: float | None
    error: Mapping[str, Any] | None
    tasks: list[TaskView]
    final: str | None = None
    trainings: tuple[str, ...] = ()
    evaluation: str | None = None
    cluster: Mapping[str, Any] | None = None

    @property
    def place(self) -> str:
        """Where the run's folder is, for whoever reads about the run: on this machine, or in the bucket."""
        bucket = (self.cluster or {}).get("bucket")
        return f"{bucket}/runs/{self.id}" if bucket else str(self.folder)

    @property
    def id(self) -> str:
        return str(self.about["id"])

    @property
    def is_over(self) -> bool:
        return self.state != "RUNNING"

    def last_of(self, *steps: str) -> TaskView | None:
        """The last begun task of the first of `steps` that this workflow has."""
        planned = {task["step"] for task in self.about["tasks"].values()}
        wanted = next((step for step in steps if step in planned), None)
        return next((task for task in reversed(self.tasks) if task.step == wanted), None)

    @property
    def policy_task(self) -> TaskView | None:
        return self.last_of(*POLICY_STEPS)

    @property
    def model_task(self) -> TaskView | None:
        """The task whose model is the run's, once it has begun."""
        if self.final is None:
            return self.policy_task
        return next((task for task in self.tasks if task.task == self.final), None)

    @property
    def training_points(self) -> list[Point]:
        """The metrics of all trainings of the policy, one after another: a round's steps go on where the last one ended."""
        begun = {task.task: task for task in self.tasks}
        points: list[Point] = []
        for name in self.trainings:
            offset = max((int(point["step"]) for point in points), default=0)
            points += (
                [{**point, "step": point["step"] + offset} for point in begun[name].points] if name in begun else []
            )
        return points or (list(self.policy_task.points) if self.policy_task else [])

    @property
    def evaluation_task(self) -> TaskView | None:
        if self.evaluation is None:
            return self.last_of(EVALUATION_STEP)
        return next((task for task in self.tasks if task.task == self.evaluation), None)

    @property
    def measuring_tasks(self) -> list[TaskView]:
        """All tasks whose numbers are the run's: its evaluation, and what it still knows."""
        return [task for task in (self.evaluation_task, self.last_of(KNOWLEDGE_STEP)) if task]


class RunReader:
    """Reads a run folder again and again; files that did not change are not parsed again."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._parsed: dict[Path, tuple[tuple[int, int], Any]] = {}
        self._tails: dict[Path, _Tail] = {}

    def read(self) -> RunView | None:
        """The run as it is now; None if the folder holds no run (yet)."""
        alive = is_held(
            self.folder / "alive.lock"
        )  # first: what a dead run leaves is complete, a living one's may grow
        about, end = self._json(self.folder / "run.json"), self._json(self.folder / "end.json")
        if about is None:
            return None
        cluster = self._json(self.folder / CLUSTER)
        alive = alive or cluster is not None  # its pods need nobody here
        state = end["state"] if end else "RUNNING" if alive else "KILLED"
        tasks = [self._task(name, planned, state) for name, planned in about["tasks"].items()]
        begun = sorted((task for task in tasks if task), key=lambda task: task.started)
        ended = end["ended"] if end else self._last_sign(begun, about) if state == "KILLED" else None
        spec = self._json(self.folder / "pipeline.json") or {}
        final = final_task(spec)
        trainings = tuple(training_tasks(spec, final)) if final else ()
        error, evaluation = (end or {}).get("error"), page_evaluation(spec)
        return RunView(self.folder, about, state, ended, error, begun, final, trainings, evaluation, cluster)

    def _task(self, name: str, planned: Mapping[str, Any], run_state: str) -> TaskView | None:
        record = self._json(self.folder / "steps" / f"{name}.record.json")
        status = self._json(self.folder / "steps" / f"{name}.step.json")
        journal = self._journal(record)
        points = list(journal["metrics"]) if journal else self._live_points(name)
        if record:
            failed = record["state"] == "FAILED"
            error = record.get("error") or {}
            state = "KILLED" if failed and error.get("type") in STOPPED_BY_OTHERS else record["state"]
            settings = _settings(record["arguments"].get("settings"))
            return TaskView(
                name,
                planned["step"],
                state,
                record["started"],
                record["ended"],
                settings,
                record["key"],
                points,
                journal,
                record["outputs"],
                record["arguments"],
                record.get("files") or {},
                record.get("origin"),
                error or None,
                record.get("uris", record["outputs"]),
            )
        if status is None:
            return None
        error, ended = status.get("error"), status.get("ended")
        state = (
            "RUNNING"
            if run_state == "RUNNING"
            else "KILLED"
            if not error or error["type"] in STOPPED_BY_OTHERS
            else "FAILED"
        )
        return TaskView(
            name,
            planned["step"],
            state,
            status["started"],
            ended,
            {},
            planned.get("key", ""),
            points,
            journal,
            error=error,
        )

    def _journal(self, record: Mapping[str, Any] | None) -> Journal | None:
        """The task's journal; None while there is none, and when the run that wrote it was deleted."""
        path = record["outputs"].get("journal") if record else None
        if path is None:
            return None
        found = self._parsed.get(Path(path))
        if found is None:
            try:
                found = self._parsed[Path(path)] = ((0, 0), read_journal(path))
            except ArtifactError:
                return None
        journal: Journal = found[1]
        return journal

    def _live_points(self, task: str) -> list[Point]:
        path = self.folder / "steps" / f"{task}.metrics.jsonl"
        return self._tails.setdefault(path, _Tail(path)).points()

    def _json(self, path: Path) -> dict[str, Any] | None:
        try:
            status = path.stat()
            signature = (status.st_mtime_ns, status.st_size)
            if path not in self._parsed or self._parsed[path][0] != signature:
                self._parsed[path] = (signature, dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError):
            return None
        found: dict[str, Any] = self._parsed[path][1]
        return found

    def _last_sign(self, tasks: list[TaskView], about: Mapping[str, Any]) -> float:
        """When a killed run was last seen: its latest time stamp."""
        times = [about["created"]]
        for task in tasks:
            times += [task.started, task.ended or 0.0, *(point["time"] for point in task.points[-1:])]
        return float(max(times))


class _Tail:
    """The points of a metrics.jsonl that grows; a line without its end is read the next time."""

    def __init__(self, path: Path):
        self.path, self._offset = path, 0
        self._points: list[Point] = []

    def points(self) -> list[Point]:
        try:
            if self.path.stat().st_size < self._offset:  # a resumed step wrote it anew
                self._offset, self._points = 0, []
            with self.path.open("rb") as file:
                file.seek(self._offset)
                whole = file.read().rpartition(b"\n")
        except OSError:
            return []
        self._offset += len(whole[0]) + len(whole[1])
        for line in whole[0].splitlines():
            try:
                self._points.append(json.loads(line))
            except ValueError:
                continue
        return list(self._points)


def read_run(folder: Path) -> RunView | None:
    """A run as it is now."""
    return RunReader(folder).read()


def run_folders(home: Path) -> Iterator[Path]:
    """The folders of all runs, oldest first, so that originals come before what was reused from them."""
    found = []
    for path in (home / "runs").glob("*/run.json"):
        try:
            found.append((json.loads(path.read_text(encoding="utf-8"))["created"], path.parent))
        except (OSError, ValueError, KeyError):
            continue
    yield from (folder for _, folder in sorted(found))


def _settings(text: str | None) -> dict[str, Any]:
    try:
        return dict(json.loads(text or "{}"))
    except ValueError:
        return {}
