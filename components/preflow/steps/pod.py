"""A step in a pod: what it says about itself goes to the bucket, file for file as into a run's folder on one machine.

The environment names the run (PREFLOW_RUN_ID), the task and its lineage, and the bucket; none of it is a parameter, so none
of it counts for the cache. Whoever submitted reads the same files that a local run would have left, waiting or not.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflow.artifacts.bucket import Bucket
from preflow.artifacts.files import replace_json
from preflow.errors import ArtifactError, BucketError

FOLDER = Path(os.environ.get("PREFLOW_POD_FOLDER", "/tmp/preflow/run"))
MIRRORED = ("step.json", "progress.json", "metrics.jsonl")
MIRROR_SECONDS = 5.0


def in_pod() -> bool:
    """Whether this step runs in a pod of a submitted run."""
    return all(os.environ.get(name) for name in ("PREFLOW_BUCKET", "PREFLOW_RUN_ID", "PREFLOW_TASK"))


def enter() -> None:
    """Give the step a run folder. Nothing here may fail: the work counts more than what is said about it."""
    (FOLDER / "steps").mkdir(parents=True, exist_ok=True)
    os.environ["PREFLOW_RUN_DIR"] = str(FOLDER)


class Mirror:
    """Copies a task's status files to the bucket while it works. A store that does not answer is said once, and tried again."""

    def __init__(self, task: str):
        self.task, self.run = task, os.environ["PREFLOW_RUN_ID"]
        self.bucket = Bucket.from_environment()
        self._sent: dict[str, tuple[int, int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="mirror")
        self._said = False

    @contextlib.contextmanager
    def following(self) -> Iterator["Mirror"]:
        """While the block runs, and once after it."""
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join()
            self.push()

    def _work(self) -> None:
        self.push()
        while not self._over.wait(MIRROR_SECONDS):
            self.push()

    def push(self) -> None:
        """Send what changed."""
        for suffix in MIRRORED:
            path = FOLDER / "steps" / f"{self.task}.{suffix}"
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                state = (status.st_mtime_ns, status.st_size)
                if self._sent.get(suffix) != state and self.write(f"steps/{path.name}", path.read_bytes()):
                    self._sent[suffix] = state

    def write(self, name: str, content: bytes) -> bool:
        """A file of the run; whether it was written."""
        return self._put(f"runs/{self.run}/{name}", content)

    def _put(self, name: str, content: bytes) -> bool:
        assert self.bucket is not None
        try:
            self.bucket.write(name, content)
        except BucketError as error:
            if not self._said:
                print(f"{time.strftime('%H:%M:%S')} WARNING: not reported: {error}", flush=True)
            self._said = True
            return False
        return True

    def record(self, record: Mapping[str, Any]) -> None:
        """How the task ended: for its run, and, if it succeeded, for every run that will reuse it."""
        path = FOLDER / "steps" / f"{self.task}.record.json"
        replace_json(path, record)
        written = self.write(f"steps/{path.name}", path.read_bytes())
        lineage = os.environ.get("PREFLOW_LINEAGE")
        if written and lineage and record["state"] == "EXECUTED":
            self._put(f"steps/{lineage}.json", path.read_bytes())


def describe_files(path: Path) -> dict[str, str]:
    """sha256 by relative name; "." for a single file. A folder's manifest knows them."""
    from preflow.artifacts.manifest import file_digests, read_manifest

    try:
        return {name: entry["sha256"] for name, entry in read_manifest(path).files.items()}
    except ArtifactError:
        return file_digests(path)
