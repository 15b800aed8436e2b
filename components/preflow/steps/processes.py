"""A step on several devices: torchrun starts a process for each inside the step's pod, and all do the same work.

How many is a matter of the hardware (PREFLOW_PROCESSES), not of the settings: the result is the same but for rounding, so it
is no part of a step's cache key. The step's own process keeps what the kit does and waits; the first of the others writes
metrics, progress, checkpoints and the result, and leaves its notes for the journal in a file.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import preflow.errors
from preflow.errors import ClusterError, DataError, PreflowError, Problem
from preflow.steps.kit import Step
from preflow.steps.lifeline import Stopped, deferred_stop, stop_on_sigterm

COUNT, RANK = "PREFLOW_PROCESSES", "RANK"
POLL_SECONDS = 0.2
NOTES = "notes.json"


class Rank(Step):
    """The step in one of its processes. All keep the same notes; the first one shows them."""

    @property
    def first(self) -> bool:
        return os.environ[RANK] == "0"

    def file(self, suffix: str) -> Path | None:
        return super().file(suffix) if self.first else None

    def log(self, text: str) -> None:
        if self.first:
            super().log(text)

    def _be_alone_in(self, folder: Path) -> None:
        if self.first:
            super()._be_alone_in(folder)

    def notes(self) -> dict[str, Any]:
        """What the step's own process puts into the journal."""
        return {"facts": self._facts, **self._journal}


def on_all_devices(step: Step, work: Callable[..., None], **arguments: Any) -> None:
    """Call `work(step, **arguments)`, a function of a module, with arguments that JSON can say: here, or in a process per device."""
    count = int(os.environ.get(COUNT) or 1)
    if count == 1 or isinstance(step, Rank):
        work(step, **arguments)
        return
    _refuse_missing_devices(count)
    with tempfile.TemporaryDirectory(prefix="preflow-processes-") as name:
        folder = Path(name)
        about: dict[str, Any] = {
            "step": step.name,
            "settings": step.settings_text,
            "key": step.key,
            "journal": str(step.journal_path),
        }
        about |= {"inputs": step.inputs, "work": f"{work.__module__}:{work.__qualname__}", "arguments": arguments}
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
        step.log(f"{count} processes, one for each device")
        try:
            _launch(count, folder)
        finally:
            _take_notes(step, folder)


def _refuse_missing_devices(count: int) -> None:
    import torch

    found = torch.cuda.device_count()
    if torch.cuda.is_available() and found < count:
        raise ClusterError(
            f"the hardware profile asks for {count} devices per task, this pod has {found}. "
            "Expected one for each process. Mend accelerator_count, or the node's device plugin."
        )


def _launch(count: int, folder: Path) -> None:
    """Run torchrun to its end, passing SIGTERM on. Raises Stopped, or the error of the process that failed first."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(count), "-m", "preflow.steps.processes", str(folder)]
    told = False
    with deferred_stop() as stop_requested:
        # a session of its own: a signal to the whole group would reach torchrun twice, the second time while it cleans up
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None:
            if stop_requested() and not told:
                process.terminate()
                told = True
            time.sleep(POLL_SECONDS)
    if process.returncode:
        if told:
            raise Stopped
        _raise_first(folder, process.returncode)


def _raise_first(folder: Path, code: int) -> None:
    """The error of the process that failed first; a mistake of the user's before what followed from it."""
    errors = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("error.*.json")]
    if not errors:
        raise RuntimeError(
            f"a process of this step was killed (torchrun: {code}); see the log. Out of memory, perhaps."
        )
    error = min(errors, key=lambda each: (not each["user"], each["time"]))
    if error["problems"]:
        raise DataError([Problem(**each) for each in error["problems"]], error["total"])
    if error["user"]:
        raise getattr(preflow.errors, error["type"], PreflowError)(error["message"])
    raise RuntimeError(f"process {error['rank']}: {error['type']}: {error['message']}")


def _take_notes(step: Step, folder: Path) -> None:
    path = folder / NOTES
    if not path.exists():
        return
    notes = json.loads(path.read_text(encoding="utf-8"))
    step.restore_metrics(notes["metrics"])
    for text in notes["warnings"]:
        step.warn(text)
    for name, value in notes["facts"].items():
        step.fact(name, value)


def main(folder: Path) -> int:
    """The work of one process; its exit code."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    step = Rank(about["step"], about["settings"], about["key"], Path(about["journal"]), about["inputs"])
    module, _, name = about["work"].partition(":")
    try:
        stop_on_sigterm()
        getattr(importlib.import_module(module), name)(step, **about["arguments"])
    except Stopped:
        return 143
    except Exception as error:
        traceback.print_exc()
        problems = [each.as_dict() for each in error.problems] if isinstance(error, DataError) else []
        content = {"type": type(error).__name__, "message": str(error), "user": isinstance(error, PreflowError)}
        content |= {"rank": os.environ[RANK], "time": time.time(), "problems": problems}
        content |= {"total": error.total if isinstance(error, DataError) else 0}
        (folder / f"error.{os.environ[RANK]}.json").write_text(json.dumps(content), encoding="utf-8")
        return 1
    finally:
        if step.first:
            (folder / NOTES).write_text(json.dumps(step.notes()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    # the name that the work's own modules know: Rank must be one class
    from preflow.steps.processes import main as work_of_one

    sys.exit(work_of_one(Path(sys.argv[1])))
