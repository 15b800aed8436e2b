"""A folder in place of an object store: what `Bucket` asks of pyarrow, answered by the disk. For tests without a cluster."""

import os
from pathlib import Path
from typing import Any

from pyarrow import fs

from preflow.artifacts import bucket

ROOT = "PREFLOW_TEST_STORE"


class FolderStore(fs.SubTreeFileSystem):
    """Objects appear whole when their stream is closed, and need no folder made for them."""

    def open_output_stream(self, path: str, *arguments: Any, **named: Any) -> Any:
        self.create_dir(os.path.dirname(path), recursive=True)
        return super().open_output_stream(path, *arguments, **named)


def use(root: str | Path | None = None) -> None:
    """Every bucket of this process, and of those that it starts with `PREFLOW_TEST_STORE`, lies below `root`."""
    os.environ[ROOT] = place = str(root or os.environ[ROOT])
    bucket._filesystem = lambda scheme, endpoint: FolderStore(place, fs.LocalFileSystem())
