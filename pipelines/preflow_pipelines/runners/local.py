"""A run on this machine: stage inputs, compile, bind, run through kfp.local, record what happened.

The run's folder is written as it goes, so that a killed run can be read; steps hang on a lock that this process holds,
so that none outlives it; the recorder (tracking) follows in a process of its own and never holds a run up.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from preflow import __version__
from preflow.errors import DataError, PreflowError, Problem
from preflow.settings.plan import Plan
from preflow.tracking.journal import Journal, latest, read_journal
from preflow_pipelines.compile import pipeline_spec
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.runners import kfp_adaptor
from preflow_pipelines.runners.binding import bind, identify
from preflow_pipelines.runners.folder import RunFolder, new_run_folder
from preflow_pipelines.runners.inputs import StagedInput, open_store
from preflow_pipelines.runners.locks import exclusive
from preflow_pipelines.runners.recording import LocalWatcher
from preflow_pipelines.runners.tasks import Task, tasks_of


class Observer(Protocol):
    """Who looks on: the live table, or a test."""

    def begin(self, tasks: Sequence[str]) -> None: ...
    def started(self, task: str) -> None: ...
    def progress(self, task: str, progress: Mapping[str, Any]) -> None: ...
    def finished(self, task: str, state: str, seconds: float) -> None: ...
    def message(self, text: str) -> None: ...


@dataclass(frozen=True)
class StepResult:
    name: str
    state: str
    seconds: float
    outputs: dict[str, str]


@dataclass(frozen=True)
class RunResult:
    """`metrics` are the headline numbers of the run's journals, `warnings` what its steps warned of; `error` is the failed
    step's, as its record says."""

    folder: RunFolder
    state: str
    steps: list[StepResult]
    metrics: dict[str, float]
    warnings: list[str]
    error: dict[str, Any] | None

    def raise_if_users_mistake(self) -> None:
        """A step that stopped on the user's input is the user's to mend: the command then exits with 2."""
        if self.error and self.error.get("user"):
            problems = [Problem(**problem) for problem in self.error.get("problems", [])]
            raise DataError(problems, self.error["total"]) if problems else PreflowError(self.error["message"])


def run_local(
    plan: Plan,
    *,
    home: Path,
    observer: Observer,
    kept: Mapping[str, StagedInput] | None = None,
    nonces: Mapping[str, str] | None = None,
    parent: str | None = None,
    relation: str | None = None,
) -> RunResult:
    """Run a plan to its end; `kept` are inputs that another run staged.

    Raises PreflowError before anything is started if inputs cannot be staged.
    """
    nonces, kept = dict(nonces or {}), kept or {}
    with open_store(home, observer.message) as store:
        staged = {name: store.stage(spec, kept.get(name)) for name, spec in plan.inputs.items()}
    spec, _ = pipeline_spec(plan, Hardware())
    tasks = tasks_of(spec)
    identities = {task.name: identify(task, plan.sections, staged, nonces.get(task.name, "")) for task in tasks}
    arguments = {**plan.sections, **{f"{name}_uri": value.uri for name, value in staged.items()}}
    folder = new_run_folder(home)
    with exclusive(folder.alive_lock):
        folder.write("pipeline.json", bind(spec, identities))
        about = {
            "id": folder.id,
            "method": plan.method,
            "created": time.time(),
            "run_file": plan.run_file.model_dump(mode="json"),
            "sections": dict(plan.sections),
            "arguments": arguments,
            "inputs": {name: vars(value) for name, value in staged.items()},
            "sources": {name: _source(spec.source) for name, spec in plan.inputs.items()},
            "order": [task.name for task in tasks],
            "tasks": {name: identity.as_dict() for name, identity in identities.items()},
            "nonces": nonces,
            "parent": parent,
            "relation": relation,
            "tracking": plan.run_file.tracking.model_dump(),
            "version": __version__,
        }
        folder.write("run.json", about)
        observer.begin([task.name for task in tasks])
        _start_recorder(folder, home)
        return _execute(folder, home, tasks, staged, arguments, observer)


def _source(source: Any) -> Any:
    """An input's source as JSON, so that a rerun finds it again."""
    if isinstance(source, dict):
        return {name: _source(value) for name, value in source.items()}
    return source.model_dump() if hasattr(source, "model_dump") else source


def _execute(
    folder: RunFolder,
    home: Path,
    tasks: list[Task],
    staged: Mapping[str, StagedInput],
    arguments: dict[str, str],
    observer: Observer,
) -> RunResult:
    watcher = LocalWatcher(folder, home, {task.name: task.step for task in tasks}, staged, observer)
    state, error = "FAILED", None
    try:
        with _environment(folder, home), _terminate_as_interrupt(), watcher.polling(), _quiet(folder):
            kfp_adaptor.run_pipeline(
                folder.read("pipeline.json") or {}, arguments, folder.path / "outputs", home / "cache", watcher
            )
        state = "SUCCEEDED"
    except KeyboardInterrupt:
        state = "CANCELLED"
        observer.message("interrupted; waiting for the step to save and leave ...")
        watcher.stop_child()
        raise
    except RuntimeError as failure:
        error = watcher.error or {"type": "RuntimeError", "user": False, "message": str(failure), "problems": []}
    finally:
        watcher.index.save()
        folder.write("end.json", {"state": state, "error": error, "ended": time.time()})
        shutil.rmtree(folder.path / "tmp", ignore_errors=True)
    return _result(folder, state, tasks, error, observer)


def _result(
    folder: RunFolder, state: str, tasks: list[Task], error: dict[str, Any] | None, observer: Observer
) -> RunResult:
    steps = []
    for task in tasks:
        record = folder.record(task.name)
        if record is None:
            observer.finished(task.name, "SKIPPED", 0.0)
            steps.append(StepResult(task.name, "SKIPPED", 0.0, {}))
        else:
            steps.append(StepResult(task.name, record["state"], record["seconds"], record["outputs"]))
    metrics: dict[str, float] = {}
    warnings: list[str] = []
    for name, journal in _journals(folder):
        metrics |= latest(journal)  # the later step's, where two say the same
        warnings += [f"{name}: {text}" for text in dict.fromkeys(journal["warnings"])]
    return RunResult(folder, state, steps, metrics, warnings, error)


def _journals(folder: RunFolder) -> Iterator[tuple[str, Journal]]:
    """Those of the run's tasks, as far as they can be read."""
    for record in folder.records():
        if journal := record["outputs"].get("journal"):
            with contextlib.suppress(PreflowError):
                yield record["task"], read_journal(journal)


@contextlib.contextmanager
def _environment(folder: RunFolder, home: Path) -> Iterator[None]:
    """What the steps inherit. It is no part of any cache key, so nothing in it may change a result."""
    ours = {
        "PREFLOW_HOME": str(home),
        "PREFLOW_RUN_DIR": str(folder.path),
        "PREFLOW_RUN_ID": folder.id,
        "PREFLOW_ALIVE": str(folder.alive_lock),
        "TMPDIR": str(folder.path / "tmp"),
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "PYTHONSAFEPATH": "1",  # what happens to lie in the working directory is nobody's import
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet(folder: RunFolder) -> Iterator[None]:
    """What kfp.local prints goes to a file of the run."""
    with (folder.path / "kfp.log").open("w", encoding="utf-8", errors="backslashreplace") as log:
        with contextlib.redirect_stdout(log):
            yield


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM leaves as Ctrl-C does. Only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start_recorder(folder: RunFolder, home: Path) -> None:
    """Tracking in a process and session of its own: it goes on when this one has returned, and its failures stay there."""
    log = (folder.path / "recorder.log").open("a")  # another recorder may take the run over, and write there
    subprocess.Popen(
        [sys.executable, "-m", "preflow.tracking.recorder", str(folder.path), "--home", str(home), "--follow"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    log.close()
