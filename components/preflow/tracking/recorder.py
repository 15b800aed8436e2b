"""The recorder: a process that projects a run's folder into MLflow while it goes, and closes runs that were killed.

    python -m preflow.tracking.recorder RUN_DIR [--home HOME] [--follow]

It never touches the run: it only reads the folder, and leaves mlflow.json (where the run is recorded) and, when all is
written, synced.json. Interrupted, it or `sync` begins anew and ends with the same result. One writer per run: a lock.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from preflow.artifacts.files import replace_json
from preflow.tracking.json_files import read_json
from preflow.tracking.locks import held
from preflow.tracking.projection import Projection
from preflow.tracking.relay import hand_over, wait_for_another
from preflow.tracking.runs import RunReader, RunView, run_folders
from preflow.tracking.store import Store, configure, experiment_name, local_uri, open_store, store_identity, store_uri
from preflow.tracking.view import provide_view

POLL_SECONDS = 0.7
LINK_SECONDS = 20.0  # how long to wait for the run that something was reused from to be recorded itself
STEP_GRACE_SECONDS = 25.0  # a step whose launcher died saves a checkpoint before it leaves
RETRY_SECONDS = (2.0, 5.0, 15.0, 30.0, 60.0, 120.0)  # waits when the store does not answer
WHERE, SYNCED = "mlflow.json", "synced.json"


def follow(folder: Path, home: Path, say: Callable[[str], None] = print) -> bool:
    """Project a run until it is over; whether everything was written. False if another recorder has it."""
    with _only_writer(folder) as mine:
        if not mine:
            say(f"{folder.name}: another recorder writes it")
            return False
        reader, projection, failures = RunReader(folder), None, 0
        while True:
            view = reader.read()
            if view is None and not (folder / "run.json").exists():
                say(f"{folder.name}: its folder was deleted")
                return False
            try:
                if view is not None:
                    projection = projection or begin(home, view, say)
                    if view.is_over:
                        return _finish(folder, home, reader, projection, say)
                    projection.push(view)
                    _write_where(folder, home, projection)
                    failures = 0
            except Exception as error:  # tracking must outlive any trouble of the store
                say(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
                projection, failures = None, failures + 1
                over = view is not None and view.is_over
                if over and failures > len(RETRY_SECONDS):
                    say("given up; `preflow ui` and `preflow compare` try again")
                    return False
                time.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])
            time.sleep(POLL_SECONDS)


def sync(home: Path, say: Callable[[str], None] = lambda text: None, only: Collection[Path] | None = None) -> list[str]:
    """Project every run, or those of the folders in `only`, that is not wholly in MLflow yet; the problems met. Nothing to
    do: mlflow is not imported."""
    problems: list[str] = []
    closed: set[tuple[str, str]] = set()  # stores that could not be opened: asking each of them takes its time
    for folder in run_folders(home):
        if is_synced(folder, home) or (only is not None and folder not in only):
            continue
        with _only_writer(folder) as mine:
            if not mine:  # its own recorder is at work
                continue
            reader = RunReader(folder)
            view = reader.read()
            if view is None:
                continue
            place = store_uri(home, view.about["tracking"]), experiment_name(view.about["tracking"])
            if place in closed:
                problems.append(f"{folder.name}: {place[0]} could not be opened, see above")
                continue
            say(f"recording {folder.name}")
            projection = None
            try:
                projection = begin(home, view, say)
                _write(folder, home, reader, view, projection, say, patience=0.0)
            except Exception as error:
                problems.append(f"{folder.name}: {type(error).__name__}: {error}")
                if projection is None:
                    closed.add(place)
    return problems


def is_synced(folder: Path, home: Path) -> bool:
    """Whether the run is wholly in its store, and the store still is the one it was written to."""
    synced = read_json(folder / SYNCED)
    if synced is None or synced.get("end", _end(folder)) != _end(folder):  # a run on a cluster that was retried
        return False
    return bool(synced["store"] == store_identity(home, synced["tracking_uri"]))


def recorded_at(folder: Path, home: Path) -> Mapping[str, Any] | None:
    """Where the run is recorded: tracking_uri, experiment, experiment_id, run_id, children; None if it is not (yet)."""
    where = read_json(folder / SYNCED) or read_json(folder / WHERE)
    if where is None or where["store"] != store_identity(home, where["tracking_uri"]):
        return None
    return where


def wait_until_recorded(folder: Path, home: Path, seconds: float, *, wholly: bool = False) -> Mapping[str, Any] | None:
    """As `recorded_at`, waiting for the recorder; with `wholly` until everything is written."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        where = recorded_at(folder, home)
        if where is not None and (not wholly or is_synced(folder, home)):
            return where
        time.sleep(0.1)
    return recorded_at(folder, home)


def record_now(folder: Path, home: Path, say: Callable[[str], None] = print) -> bool:
    """Write the run as it is now; False if there is none, or another recorder has it. Errors of the store pass through."""
    with _only_writer(folder) as mine:
        reader = RunReader(folder)
        view = reader.read()
        if view is None or not mine:
            return False
        _write(folder, home, reader, view, begin(home, view, say), say)
        return True


def begin(home: Path, view: RunView, say: Callable[[str], None]) -> Projection:
    """A projection of the run into its store."""
    store = open_store(home, view.about["tracking"], (view.cluster or {}).get("kfp_run"))
    try:
        provide_view(store)
    except Exception as error:  # a convenience of the UI; its format is MLflow's own affair
        say(f"saved view: {type(error).__name__}: {error}")
    return Projection(store)


def _write(
    folder: Path,
    home: Path,
    reader: RunReader,
    view: RunView,
    projection: Projection,
    say: Callable[[str], None],
    patience: float = LINK_SECONDS,
) -> None:
    if view.is_over:
        _finish(folder, home, reader, projection, say, patience)
    else:
        projection.push(view)
        _write_where(folder, home, projection)


def _finish(
    folder: Path,
    home: Path,
    reader: RunReader,
    projection: Projection,
    say: Callable[[str], None],
    patience: float = LINK_SECONDS,
) -> bool:
    """Write what is left of a run that is over, and say so in synced.json."""
    view = _settled(reader, STEP_GRACE_SECONDS if patience else 0.0)
    deadline = time.monotonic() + patience
    projection.complete(view)
    while projection.unlinked and _may_be_linked(view, projection, home) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        projection.complete(view)
    for problem in projection.problems:
        say(f"not recorded: {problem}")
    _write_where(folder, home, projection)
    where = _where(projection) | {"problems": projection.problems, "completed": time.time(), "end": _end(folder)}
    replace_json(folder / SYNCED, where)
    return True


def _settled(reader: RunReader, seconds: float) -> RunView:
    """The run once the step that was in flight when its launcher died has left, too."""
    deadline = time.monotonic() + seconds
    while True:
        view = reader.read()
        assert view is not None
        open_tasks = [task.task for task in view.tasks if task.ended is None]
        if (
            view.cluster
            or time.monotonic() >= deadline
            or not any(_is_running(reader.folder, task) for task in open_tasks)
        ):
            return view
        time.sleep(POLL_SECONDS)


def _is_running(folder: Path, task: str) -> bool:
    status = read_json(folder / "steps" / f"{task}.step.json") or {}
    try:
        os.kill(int(status["pid"]), 0)
    except (KeyError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _end(folder: Path) -> dict[str, Any] | None:
    return read_json(folder / "end.json")


def _may_be_linked(view: RunView, projection: Projection, home: Path) -> bool:
    """Whether an original that is missing in MLflow is likely to appear: its run is there, and not recorded yet."""
    origins = {task.origin for task in view.tasks if task.task in projection.unlinked and task.origin}
    return any(
        (home / "runs" / name / "run.json").is_file() and not is_synced(home / "runs" / name, home) for name in origins
    )


def _where(projection: Projection) -> dict[str, Any]:
    store: Store = projection.store
    return {
        "tracking_uri": store.uri,
        "experiment": store.experiment,
        "experiment_id": store.experiment_id,
        "store": store.identity,
        "run_id": projection.parent.id if projection.parent else None,
        "children": {task: child.id for task, child in projection.children.items()},
        "model_id": projection.model_id,
        "model_version": projection.model_version,
    }


def _write_where(folder: Path, home: Path, projection: Projection) -> None:
    where = _where(projection)
    if read_json(folder / WHERE) != where:
        replace_json(folder / WHERE, where)


def _only_writer(folder: Path) -> AbstractContextManager[bool]:
    """Hold the run's recorder.lock; False if somebody else does."""
    return held(folder / "recorder.lock")


def _own_store(folder: Path, home: Path) -> str | None:
    """Which store of the home's own the run goes to; None for another one, and before it is made."""
    tracking = (read_json(folder / "run.json") or {}).get("tracking")
    if tracking is None or store_uri(home, tracking) != local_uri(home):
        return None
    return store_identity(home, local_uri(home))


def _append(log: Path, text: str) -> None:
    with suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m preflow.tracking.recorder", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("--home", type=Path, help="PREFLOW_HOME; default: two folders above the run's")
    parser.add_argument("--follow", action="store_true", help="stay until the run is over")
    given = parser.parse_args(arguments)
    folder = given.run.resolve()
    home = given.home.resolve() if given.home else folder.parents[1]
    configure()
    with suppress(OSError):
        os.nice(5)  # the steps come first
    if given.follow:
        if hand_over(folder, home, _own_store(folder, home)):
            print("handed over to the recorder of an earlier run")
            return 0
        written = follow(folder, home)
        while another := wait_for_another(home, partial(_own_store, folder, home)):
            say = partial(_append, another / "recorder.log")
            try:
                follow(another, home, say)
            except Exception as error:  # its folder may be gone; the next run is another matter
                say(f"{type(error).__name__}: {error}")
        return 0 if written else 1
    if not (folder / "run.json").is_file():
        print(f"{folder}: no run.json; not a run", file=sys.stderr)
        return 2
    if not is_synced(folder, home):
        record_now(folder, home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
