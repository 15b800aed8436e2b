"""sha256 of files, remembered by (path, size, mtime, ctime, inode) so that a big file is read once."""

import hashlib
import json
import os
import time
from pathlib import Path

from preflow.artifacts.files import publish_file

CHUNK = 1 << 22
SETTLED_NANOSECONDS = 20_000_000  # above the grain of the clock that stamps files


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class DigestIndex:
    """Digests of files that were read before. A file that was changed in place is read again.

    An mtime can be put back (`touch -r`, `rsync -t`, `tar -x`), the time of the change itself (ctime) cannot.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._known = self._load()
        self._changed = False

    def sha256(self, path: str | Path) -> str:
        path = Path(path).resolve()
        state = _state(path)
        known = self._known.get(str(path))
        if known and known[:-1] == state:
            return str(known[-1])
        digest, now = file_sha256(path), time.time_ns()
        # A file written within the clock's grain could change again without another time: do not remember it yet.
        if _state(path) == state and now - max(state[1:3]) > SETTLED_NANOSECONDS:
            self._known[str(path)] = [*state, digest]
            self._changed = True
        return digest

    def remember(self, path: Path, digest: str) -> None:
        """The digest of a file that the caller has just read or written."""
        path = path.resolve()
        self._known[str(path)] = [*_state(path), digest]
        self._changed = True

    def link(self, source: Path, target: Path) -> None:
        """Hard-link a file. What was known of it stays known: a link moves the ctime, and not one byte."""
        source = source.resolve()
        known = self._known.get(str(source))
        is_current = known is not None and known[:-1] == _state(source)
        os.link(source, target)
        if known and is_current:
            self.remember(source, str(known[-1]))

    def save(self) -> None:
        """Write what was learned; entries of another process that saved meanwhile are kept."""
        if not self._changed:
            return
        merged = {**self._load(), **self._known}
        with publish_file(self.path) as temporary:
            temporary.write_text(json.dumps(merged), encoding="utf-8")
        self._changed = False

    def _load(self) -> dict[str, list[str | int]]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return {}


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
