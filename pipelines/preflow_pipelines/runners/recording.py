"""What is written down about each task of a local run, and the check of outputs that are reused."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflow.artifacts.digests import DigestIndex
from preflow_pipelines.runners.folder import RunFolder
from preflow_pipelines.runners.inputs import StagedInput

if TYPE_CHECKING:
    from preflow_pipelines.runners.results import Observer

POLL_SECONDS = 0.2


class LocalWatcher:
    """Records tasks as the adaptor reports them, and passes everything on to the observer."""

    def __init__(
        self,
        folder: RunFolder,
        home: Path,
        steps: Mapping[str, str],
        staged: Mapping[str, StagedInput],
        observer: "Observer",
    ):
        self.folder, self.home, self.steps, self.staged, self.observer = folder, home, steps, staged, observer
        self.index = DigestIndex(home / "cache" / "digests.json")
        self.error: dict[str, Any] | None = None
        self.current: str | None = None

    def started(self, task: str) -> None:
        self.current = task
        self.observer.started(task)

    def waiting(self, task: str, holder: str) -> None:
        self.observer.message(f"{task}: waiting for run {holder}, which does the same work; its result is reused")

    def damaged(self, task: str, outputs: Mapping[str, str]) -> str | None:
        """The path of the first reused output that does not hold what its step wrote."""
        files = self._origin_record(task, outputs).get("files", {})
        for name, path in outputs.items():
            if name not in files or self._describe(Path(path)) != files[name]:
                self.observer.message(
                    f"{task}: {path} was changed after it was written; set aside as *.damaged, made again"
                )
                return path
        return None

    def spoiled(self, task: str, arguments: Mapping[str, str]) -> str | None:
        """Why the result of a task that has just run is no result of its inputs: one of them was changed meanwhile."""
        for name, staged in self.staged.items():
            if staged.uri in arguments.values() and not staged.is_whole(self.index):
                origin = next(iter(staged.files.values()), staged.uri)
                message = (
                    f"{task}: the input {name} ({origin}) was changed in place while the run was going. "
                    "Expected it as it was at the start, so the result is not kept. Start the run again."
                )
                self.error = {"type": "InputChanged", "user": True, "message": message, "problems": [], "task": task}
                return message
        return None

    def finished(
        self, task: str, state: str, started: float, arguments: Mapping[str, str], outputs: Mapping[str, str]
    ) -> None:
        ended = time.time()
        if state == "FAILED":
            self.error = self.error or self._failure(task)
        origin = self._origin(outputs) if state == "CACHED" else self.folder.id
        files = (
            self._origin_record(task, outputs).get("files", {})
            if state == "CACHED"
            else {n: self._describe(Path(p)) for n, p in outputs.items()}
        )
        record = {
            "task": task,
            "step": self.steps[task],
            "state": state,
            "started": started,
            "ended": ended,
            "seconds": round(ended - started, 3),
            "arguments": dict(arguments),
            "outputs": dict(outputs),
            "files": files,
            "origin": origin,
            "key": arguments.get("key", ""),
            "error": self.error if state == "FAILED" else None,
        }
        self.folder.write(f"steps/{task}.record.json", record)
        if state != "STOPPED":  # whoever was interrupted is still to be told
            self.current = None
        self.observer.finished(task, state, ended - started)

    def _origin(self, outputs: Mapping[str, str]) -> str:
        """The run in whose folder the outputs lie."""
        runs = self.home / "runs"
        path = Path(next(iter(outputs.values())))
        return path.relative_to(runs).parts[0] if path.is_relative_to(runs) else self.folder.id

    def _origin_record(self, task: str, outputs: Mapping[str, str]) -> dict[str, Any]:
        return RunFolder(self.home / "runs" / self._origin(outputs)).record(task) or {}

    def _describe(self, path: Path) -> dict[str, str]:
        """sha256 by relative name; a file that is not there is an entry that is not there."""
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        return {each.relative_to(path).as_posix(): self.index.sha256(each) for each in files if each.is_file()}

    def _failure(self, task: str) -> dict[str, Any]:
        """Why a task failed: what the step said, or that it could say nothing."""
        said = self.folder.step_json(task)
        log = self.folder.step_file(task, "log")
        if said and said.get("error"):
            return with_users_names(said["error"], self.staged) | {"task": task, "log": str(log)}
        if said:
            message = f"{task} was killed (out of memory?). Its log: {log}"
        else:
            message = f"{task} did not start. See {self.folder.path / 'kfp.log'}"
        return {"type": "Killed", "user": False, "message": message, "problems": [], "task": task, "log": str(log)}

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Pass on the progress file of the task that runs, five times a second."""
        over = threading.Event()

        def poll() -> None:
            while not over.wait(POLL_SECONDS):
                task = self.current
                if task and (progress := self.folder.read(f"steps/{task}.progress.json")):
                    self.observer.progress(task, progress)

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def stop_child(self, seconds: float = 30.0) -> None:
        """After an interrupt: tell the step that runs to save and leave, and wait until it has."""
        task = self.current
        status = self.folder.step_json(task) if task else None
        deadline = time.monotonic() + seconds
        told = False
        while task and status and "ended" not in status and time.monotonic() < deadline:
            try:
                os.kill(status["pid"], 0 if told else signal.SIGTERM)
            except ProcessLookupError:
                return
            told = True
            time.sleep(0.1)
            status = self.folder.step_json(task)


def with_users_names(error: dict[str, Any], staged: Mapping[str, StagedInput]) -> dict[str, Any]:
    """Messages name the user's files, not the store's."""
    names = {
        str(Path(each.uri) / name) if name != "." else each.uri: origin
        for each in staged.values()
        for name, origin in each.files.items()
    }

    def mend(text: str) -> str:
        for stored in sorted(names, key=len, reverse=True):
            text = text.replace(stored, names[stored])
        return text

    problems = [
        {**problem, "file": mend(problem["file"]), "message": mend(problem["message"])}
        for problem in error.get("problems", [])
    ]
    return {**error, "message": mend(error["message"]), "problems": problems}
