"""Where a training keeps its checkpoints: in a folder; on a cluster the truth is the bucket, and the folder a copy in the pod.

    <bucket>/checkpoints/<lineage>/step-NNNNNNNN/...   a checkpoint; its manifest.json is written last
    <bucket>/checkpoints/<lineage>/lease/...           which of the runs that train the same writes here

Two runs of equal lineage train the same. The one that holds the lease keeps checkpoints. The other begins with what it finds
there and writes nothing, until the holder is done or dead. What is in the bucket outlives the training: its result has still
to be carried out of the pod, and if that fails the next attempt has little to do. A run's last task deletes it.

A store that does not answer costs checkpoints, never the training; at its start alone it is an error, while somebody may
still be looking.

A pod that is evicted has 30 s to save (terminationGracePeriodSeconds, which kfp-kubernetes cannot set), and about one where the
launcher of Kubeflow Pipelines, the container's first process but one, ends of the same signal: then the last checkpoint counts.
train.checkpoint_steps says how old that is.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from preflow.artifacts.bucket import Bucket
from preflow.artifacts.lease import Lease
from preflow.errors import BucketError
from preflow.steps.kit import Step
from preflow.training.checkpoints import KEPT, is_whole, remove_checkpoints

LINEAGE = "PREFLOW_LINEAGE"


class Checkpoints:
    """The checkpoints of one training, as a context around it: `folder` to read and write them, `saved` after each."""

    def __init__(self, step: Step):
        self.step, self.folder = step, step.checkpoints
        lineage, bucket = os.environ.get(LINEAGE), Bucket.from_environment()
        self.first = os.environ.get("RANK", "0") == "0"  # of several processes one looks after them
        self.store = _Store(step, bucket, lineage, self.folder) if bucket and lineage and self.first else None

    def __enter__(self) -> Self:
        """Raises BucketError."""
        if self.store:
            self.store.enter()
        return self

    def saved(self, number: int) -> None:
        """A checkpoint was written to the folder."""
        if self.store:
            self.store.upload(f"step-{number:08d}")

    def forget(self) -> None:
        """The result is written: the checkpoints in the folder are of no more use."""
        if self.first:
            remove_checkpoints(self.folder)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.store:
            self.store.leave()


class _Store:
    """The bucket's side of it."""

    def __init__(self, step: Step, bucket: Bucket, lineage: str, folder: Path):
        self.step, self.bucket, self.folder = step, bucket, folder
        self.place = f"checkpoints/{lineage}"
        owner = f"{os.environ.get('PREFLOW_RUN_ID', '')}.{step.task}"
        self.lease = Lease(bucket, f"{self.place}/lease", owner, self._tell)
        self._warned = False

    def enter(self) -> None:
        if not self.lease.keep():
            self.step.log(
                "another run trains the same and keeps its checkpoints; this one keeps none in the bucket while that one lives"
            )
        try:
            self._download()
        except BaseException:
            self.lease.release()
            raise

    def _download(self) -> None:
        """The latest whole checkpoint. One that is damaged, or goes while it is read, is passed over."""
        for name in reversed(self._steps()):
            begun, target = time.monotonic(), self.folder / name
            try:
                self.bucket.download(f"{self.place}/{name}", target)
            except BucketError:
                self.bucket.check()  # raises if it was the store
                continue
            if is_whole(target):
                self.step.log(f"{name} fetched from the bucket in {time.monotonic() - begun:.1f}s")
                return
            self.step.log(f"{name} in the bucket is damaged or of another training: passed over")
            shutil.rmtree(target)

    def _steps(self) -> list[str]:
        """The checkpoints with a manifest: without it one is half written."""
        prefix, end = f"{self.place}/", "/manifest.json"
        names = [entry.name.removeprefix(prefix) for entry in self.bucket.entries(self.place)]
        return [name.removesuffix(end) for name in names if name.startswith("step-") and name.endswith(end)]

    def upload(self, name: str) -> None:
        """Copy a new checkpoint, then delete what it replaces. A failure is said, and the next one is tried."""
        if not self.lease.held:
            self.step.log(f"{name} does not go to the bucket: this run does not hold the lease")
            return
        begun = time.monotonic()
        try:
            self.bucket.delete(f"{self.place}/{name}")  # of an attempt that left it damaged
            self.bucket.upload(self.folder / name, f"{self.place}/{name}")
            self._prune(name)
            self.step.log(f"{name} is in the bucket ({time.monotonic() - begun:.1f}s)")
        except BucketError as error:
            self._warn(
                f"{name} is not in the bucket: {error} The training goes on, and tries with its next checkpoint."
            )

    def _prune(self, latest: str) -> None:
        """Keep the newest up to `latest`: what is beyond it was passed over as damaged."""
        found = {name for name in self.bucket.names(self.place) if name.startswith("step-")}
        keep = sorted(name for name in found if name <= latest)[-KEPT:]
        for name in sorted(found - set(keep)):
            self.bucket.delete(f"{self.place}/{name}")

    def leave(self) -> None:
        """Let the next one in; where nothing was saved, nothing is left."""
        self.lease.release()
        with suppress(BucketError):
            if not self.bucket.entries(self.place):
                self.bucket.delete(self.place)  # empty objects that stand for folders

    def _tell(self, text: str) -> None:
        kept = "from now on checkpoints go to the bucket" if self.lease.held else "no checkpoint goes to the bucket now"
        self.step.log(f"{text}; {kept}")

    def _warn(self, text: str) -> None:
        """Among the run's warnings once; every time in the log."""
        if self._warned:
            self.step.log(f"WARNING: {text}")
        else:
            self.step.warn(text)
        self._warned = True
