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
from collections.abc import Iterator, Mapping
from pathlib import Path

from preflow import __version__
from preflow.settings.plan import Plan
from preflow_pipelines.compile import pipeline_spec
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.runners import kfp_adaptor
from preflow_pipelines.runners.binding import bind, identify
from preflow_pipelines.runners.folder import RunFolder, new_run_folder
from preflow_pipelines.runners.inputs import StagedInput, open_store
from preflow_pipelines.runners.locks import exclusive
from preflow_pipelines.runners.recording import LocalWatcher
from preflow_pipelines.runners.results import Observer, RunResult, result_of
from preflow_pipelines.runners.sources import source_as_json
from preflow_pipelines.runners.tasks import Task, tasks_of


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
            "pid": os.getpid(),
            "run_file": plan.run_file.model_dump(mode="json"),
            "sections": dict(plan.sections),
            "arguments": arguments,
            "inputs": {name: vars(value) for name, value in staged.items()},
            "sources": {name: source_as_json(spec.source) for name, spec in plan.inputs.items()},
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
    return result_of(folder, state, [task.name for task in tasks], error, observer)


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
