"""What every step runs in: its log, its journal, progress, the check of its own code, and the life line.

Locally the environment names the run's folder (PREFLOW_RUN_DIR, PREFLOW_RUN_ID, PREFLOW_HOME) and the launcher's lock
(PREFLOW_ALIVE). In a pod of a submitted run the folder is the pod's own and goes to the bucket (`preflow.steps.pod`), output goes
to the pod's log, and progress is a line a minute, too. Elsewhere there is no folder.
"""

import fcntl
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, TypeVar

from preflow.artifacts.code import parse_key
from preflow.artifacts.files import replace_json, write_json
from preflow.artifacts.ids import canonical_json
from preflow.errors import DataError, OwnCodeError, PreflowError
from preflow.settings.section import Section
from preflow.steps import pod
from preflow.steps.guard import CodeGuard
from preflow.steps.lifeline import Stopped, deferred_stop, hold_on_to_launcher, stop_on_sigterm
from preflow.steps.recording import recorded

SettingsT = TypeVar("SettingsT", bound=Section)
PROGRESS_SECONDS, LOG_SECONDS = 0.1, 60.0


class Step:
    """A step at work: settings, progress, metrics, facts and warnings."""

    def __init__(self, name: str, settings: str, key: str, journal: Path, inputs: Mapping[str, str]):
        self.name, self.settings_text, self.key = name, settings, key
        self.journal_path = journal
        self.run_folder = Path(os.environ["PREFLOW_RUN_DIR"]) if "PREFLOW_RUN_DIR" in os.environ else None
        own = journal.parent.name if self.run_folder else name.replace("_", "-")
        self.task = os.environ.get("PREFLOW_TASK", own) if pod.in_pod() else own
        self.inputs = dict(inputs)
        self.started = time.time()
        self._journal: dict[str, list[Any]] = {"metrics": [], "warnings": []}
        self._facts: dict[str, Any] = {}
        self._alone: dict[Path, IO[str]] = {}
        self._shown, self._begun, self._logged = 0.0, time.monotonic(), time.monotonic()
        self._from: int | None = None

    @classmethod
    def detached(cls, folder: Path, settings: str = "{}", name: str = "step") -> "Step":
        """A step outside of any workflow, for tests and notebooks; its journal lies in `folder`."""
        return cls(name, settings, "", folder / "journal.json", {})

    def settings(self, model: type[SettingsT]) -> SettingsT:
        """The step's section. Raises SettingsError."""
        return model.parse(self.settings_text)

    def file(self, suffix: str) -> Path | None:
        """Where a status file of this task lies, if there is a run folder."""
        return self.run_folder / "steps" / f"{self.task}.{suffix}" if self.run_folder else None

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints: outside artifacts, under a key of the step's inputs, settings and code; in a pod that is
        the lineage, and the folder the pod's own."""
        code = parse_key(self.key).get("code", "")
        identity = canonical_json([self.name, self.settings_text, code, sorted(self.inputs.items())])
        home = os.environ.get("PREFLOW_HOME") or str(pod.FOLDER.parent if pod.in_pod() else self.journal_path.parent)
        key = os.environ.get("PREFLOW_LINEAGE") or hashlib.sha256(identity.encode()).hexdigest()[:32]
        folder = Path(home) / "checkpoints" / key
        folder.mkdir(parents=True, exist_ok=True)
        self._be_alone_in(folder)
        return folder

    def _be_alone_in(self, folder: Path) -> None:
        """Wait for an earlier attempt whose launcher is gone: it may still be saving there."""
        if folder in self._alone:
            return
        file = self._alone[folder] = folder.with_name(f"{folder.name}.lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.log("an earlier attempt at this step is still saving its checkpoint; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.environ.get('PREFLOW_RUN_ID', '')}\n")  # `preflow gc` asks whose checkpoints these are
        file.flush()

    def progress(self, done: int, total: int | None, unit: str = "rows", note: str = "") -> None:
        """How far the step is. Cheap: written at most ten times a second."""
        now = time.monotonic()
        if done == 0 or self._from is None:  # a training that was resumed begins elsewhere
            self._begun, self._from = now, done
        if now - self._shown < PROGRESS_SECONDS and done != total:
            return
        self._shown = now
        seconds = round(now - self._begun, 3)
        if path := self.file("progress.json"):
            replace_json(
                path, {"done": done, "total": total, "unit": unit, "note": note, "from": self._from, "seconds": seconds}
            )
        if now - self._logged > LOG_SECONDS and "PREFLOW_ALIVE" not in os.environ:
            self._logged = now
            self.log(f"{done}{f' of {total}' if total else ''} {unit} in {seconds:.0f}s {note}")

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Values of metrics at an optimizer step (0 for final scores). Visible at once, and kept in the journal."""
        points = [
            {"name": name, "step": step, "value": float(value), "time": time.time()} for name, value in values.items()
        ]
        self._journal["metrics"] += points
        if path := self.file("metrics.jsonl"):
            with path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(point) + "\n" for point in points))

    def restore_metrics(self, points: list[dict[str, Any]]) -> None:
        """Metrics of an interrupted attempt that this one continues."""
        self._journal["metrics"] = list(points)
        if path := self.file("metrics.jsonl"):
            path.write_text("".join(json.dumps(point) + "\n" for point in points), encoding="utf-8")

    @property
    def metric_points(self) -> list[dict[str, Any]]:
        """All points logged so far."""
        return list(self._journal["metrics"])

    def fact(self, name: str, value: Any) -> None:
        """Something found out: a number, a text, or JSON."""
        self._facts[name] = value

    def warn(self, text: str) -> None:
        """Something the user should know; shown at the run's end and on its page."""
        self._journal["warnings"].append(text)
        self.log(f"WARNING: {text}")

    def log(self, text: str) -> None:
        """A line in the step's log."""
        with suppress(BrokenPipeError):  # who reads it may have ended of the signal that this step is to end of
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def write_journal(self, outputs: Mapping[str, Any]) -> None:
        """Always a file: kfp's local cache never hits on an output without one."""
        journal = {
            "step": self.name,
            "task": self.task,
            "run": os.environ.get("PREFLOW_RUN_ID", ""),
            "started": self.started,
            "ended": time.time(),
            "settings": json.loads(self.settings_text),
            "key": self.key,
            "inputs": {name: describe(path) for name, path in self.inputs.items()},
            "outputs": outputs,
            "facts": self._facts,
            **self._journal,
        }
        write_json(self.journal_path, journal)


def describe(path: str) -> dict[str, str | int]:
    """What an artifact says about itself, in strings and numbers only."""
    from preflow.artifacts.io import read_stamp
    from preflow.artifacts.manifest import read_manifest

    try:
        if os.path.isdir(path):
            return {"path": path, "kind": "folder", "digest": read_manifest(path).digest[:32]}
        stamp = read_stamp(path)
        return {"path": path, "kind": stamp.kind, "rows": stamp.rows}
    except PreflowError:
        return {"path": path}


@contextmanager
def running(
    name: str, settings: str, key: str, journal: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> Iterator[Step]:
    """Everything around a step's work. `journal`, `inputs` and `outputs` are the shell's KFP artifacts."""
    if pod.in_pod():
        pod.enter()
    step = Step(name, settings, key, Path(journal.path), {each: artifact.path for each, artifact in inputs.items()})
    mirror = pod.Mirror(step.task) if pod.in_pod() else None
    if step.run_folder and not mirror:
        _redirect(step.run_folder / "steps" / f"{step.task}.log")
        if "PREFLOW_ALIVE" in os.environ:
            hold_on_to_launcher(os.environ["PREFLOW_ALIVE"])
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher too, which sends SIGTERM
    stop_on_sigterm()
    status: dict[str, Any] = {"task": step.task, "step": name, "pid": os.getpid(), "started": step.started}
    _write_status(step, status)
    places = {each: artifact.uri for each, artifact in inputs.items()} if mirror else {}
    with recorded(step.task), mirror.following() if mirror else nullcontext():
        try:
            guard = CodeGuard(name, settings, key, step.inputs.values())
            yield step
            described = {each: describe(artifact.path) for each, artifact in outputs.items()}
            for each, artifact in outputs.items():
                artifact.metadata.update({fact: value for fact, value in described[each].items() if fact != "path"})
            step.write_journal(described)
            guard.check_nothing_escaped()
        except BaseException as error:
            status |= {"ended": time.time(), "error": _describe_error(_named(name, error))}
            _write_status(step, status)
            if mirror:
                mirror.record(_record(step, status, places))
            if isinstance(error, Stopped):
                sys.exit(143)
            if isinstance(error, SystemExit):  # its code may be 0, and the step is not done
                raise _named(name, error) from error
            raise
        with deferred_stop():  # the work is done: who is told to leave now has only to say so
            status |= {"ended": time.time()}
            _write_status(step, status)
            if mirror:
                mirror.record(_record(step, status, places, {**outputs, "journal": journal}))


def _named(step: str, error: BaseException) -> BaseException:
    """What is said of an error that would say nothing itself."""
    if isinstance(error, SystemExit):
        return OwnCodeError(f"{step}: sys.exit({error.code!r}) was called. Expected the work done. Take the call out.")
    return error


def _record(
    step: Step, status: Mapping[str, Any], inputs: Mapping[str, str], outputs: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """What a run's folder keeps about a task that ended; places are URIs."""
    error = status.get("error")
    return {
        "task": step.task,
        "step": step.name,
        "state": "FAILED" if error else "EXECUTED",
        "started": step.started,
        "ended": status["ended"],
        "seconds": round(status["ended"] - step.started, 3),
        "arguments": {"settings": step.settings_text, "key": step.key, **inputs},
        "outputs": {name: artifact.uri for name, artifact in outputs.items()},
        "files": {name: pod.describe_files(Path(artifact.path)) for name, artifact in outputs.items()},
        "origin": os.environ["PREFLOW_RUN_ID"],
        "kfp_run": os.environ.get("PREFLOW_KFP_RUN_ID", ""),
        "key": step.key,
        "error": error,
    }


def _redirect(log: Path) -> None:
    """Send descriptors 1 and 2 to the task's log: kfp.local decodes the pipe strictly and would die of one odd byte."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(handle, descriptor)
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    os.close(handle)
    temporary = Path(os.environ["PREFLOW_RUN_DIR"]) / "tmp"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary)


def _write_status(step: Step, status: Mapping[str, Any]) -> None:
    if path := step.file("step.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_json(path, status)


def _describe_error(error: BaseException) -> dict[str, Any]:
    if isinstance(error, Stopped):
        return {"type": "Stopped", "user": False, "message": "stopped"}
    problems = [problem.as_dict() for problem in error.problems] if isinstance(error, DataError) else []
    return {
        "type": type(error).__name__,
        "user": isinstance(error, PreflowError),
        "message": str(error) or type(error).__name__,
        "problems": problems,
        "total": error.total if isinstance(error, DataError) else 0,
        "traceback": traceback.format_exc(),
    }
