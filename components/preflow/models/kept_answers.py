"""Answers that were paid for, in an append-only JSON Lines file: none is asked for twice, whatever is killed or rerun."""

import fcntl
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any


class KeptAnswers:
    """Records (plain JSON) by key. Threads share one; several processes may append to one file.

    A line that a killed process left unfinished is skipped, and never glued to the next one. The first record of a key
    stands.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock = threading.Lock()
        self._records = self._load()

    def get(self, key: str) -> dict[str, Any] | None:
        return self._records.get(key)

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record, on disk before this returns."""
        line = json.dumps({"key": key, **record}, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace") + b"\n"
        with self._lock:
            self._append(line)
            self._records.setdefault(key, record)

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            with suppress(OSError):  # a file system without locks: appending is enough for one process
                fcntl.flock(handle, fcntl.LOCK_EX)
            end = os.fstat(handle).st_size
            if end and os.pread(handle, 1, end - 1) != b"\n":
                line = b"\n" + line
            while line:
                line = line[os.write(handle, line) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def _load(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                record = json.loads(line)
                found.setdefault(record.pop("key"), record)
            except (ValueError, KeyError, AttributeError, TypeError):
                continue  # unfinished
        return found
