"""sha256 of files, remembered by (path, size, mtime, inode) so that a big file is read once."""

import hashlib
import json
import os
from pathlib import Path

from preflow.artifacts.files import publish_file

CHUNK = 1 << 22


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class DigestIndex:
    """Digests of files that were read before. A file that was changed in place has another mtime and is read again."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._known = self._load()
        self._changed = False

    def sha256(self, path: str | Path) -> str:
        path = Path(path).resolve()
        stat = path.stat()
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known and known[:3] == state:
            return str(known[3])
        digest = file_sha256(path)
        # A file written within the clock's grain could change again without another mtime: do not remember it yet.
        if os.stat(path).st_mtime_ns == stat.st_mtime_ns:
            self._known[str(path)] = [*state, digest]
            self._changed = True
        return digest

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
