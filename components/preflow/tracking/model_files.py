"""A model's files on their way into MLflow: from a folder of this machine, or from the bucket of a run on a cluster.

From a bucket they are copied if the run file asks to register the model, or if they are small; else MLflow gets their
address: a model in two stores costs twice.
"""

import shutil
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.artifacts.bucket import Bucket, Entry
from preflow.artifacts.digests import DigestIndex
from preflow.artifacts.files import write_json
from preflow.tracking.from_bucket import bucket_of
from preflow.tracking.runs import RunView
from preflow.tracking.store import Store

URI, POINTER = "preflow.uri", "preflow.pointer"
COPIED_BYTES = 2 * 10**9
WHERE = "where.json"


@dataclass(frozen=True)
class LocalFiles:
    """A folder; `home` keeps the digests of its files."""

    folder: Path
    home: Path
    are_copied = True

    @property
    def place(self) -> str:
        return str(self.folder)

    def put(self, store: Store, model: Any) -> dict[str, str]:
        """Put the files; the tags that say how."""
        target = local_path(model.artifact_location)
        if target is None:
            store.client.log_model_artifacts(model.model_id, self.place)
            return {}
        index = DigestIndex(self.home / "cache" / "digests.json")  # the next run need not read the linked files again
        for path in self.folder.rglob("*"):
            if path.is_file():
                place = target / path.relative_to(self.folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
                try:
                    index.link(path, place)
                except OSError:  # another file system
                    shutil.copyfile(path, place)
        index.save()
        return {}


@dataclass(frozen=True)
class BucketFiles:
    """Objects below `place`; without a bucket that is reached from here, all that is known of them is that URI."""

    place: str
    bucket: Bucket | None
    entries: list[Entry]
    is_wanted: bool

    @property
    def are_copied(self) -> bool:
        return bool(self.entries) and self.is_wanted

    def put(self, store: Store, model: Any) -> dict[str, str]:
        """Put the files, one after another so that the largest must fit here, or the note that says where they are."""
        beginning = f"{self.bucket.name_of(self.place)}/" if self.bucket else ""
        sizes = {entry.name.removeprefix(beginning): entry.size for entry in self.entries}
        if not self.are_copied:
            with tempfile.TemporaryDirectory() as folder:
                write_json(Path(folder) / WHERE, {"uri": self.place, "files": sizes}, indent=1)
                store.client.log_model_artifacts(model.model_id, folder)
            return {URI: self.place, POINTER: "true"}
        assert self.bucket is not None
        for name in sizes:
            with tempfile.TemporaryDirectory() as folder:
                self.bucket.download(f"{beginning}{name}", Path(folder) / name)
                store.client.log_model_artifacts(model.model_id, folder)
        return {URI: self.place, POINTER: "false"}


def model_files(view: RunView, output: str) -> LocalFiles | BucketFiles | None:
    """The files of the model that a task put out; None if there are none. Raises BucketError."""
    if "://" not in output:
        folder = Path(output)
        is_model = bool(output) and (folder / "config.json").is_file()
        return LocalFiles(folder, view.folder.parents[1]) if is_model else None
    bucket = bucket_of(view.cluster or {})
    if bucket is None:
        return BucketFiles(output, None, [], False)
    entries = bucket.entries(bucket.name_of(output))
    if not any(entry.name.endswith("/config.json") for entry in entries):
        return None
    is_small = sum(entry.size for entry in entries) <= COPIED_BYTES
    is_registered = bool(view.about["tracking"].get("register_as"))
    return BucketFiles(output, bucket, entries, view.state == "SUCCEEDED" and (is_small or is_registered))


def local_path(uri: str) -> Path | None:
    """The folder that a file URI or a plain path names; None for artifacts that are elsewhere."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(uri) if not parts.scheme else None
