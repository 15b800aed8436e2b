"""Locks between processes on one machine: they vanish with their holder."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def exclusive(
    path: Path, waiting: Callable[[str], None] = lambda holder: None, *, name: str | None = None
) -> Iterator[IO[str]]:
    """Hold the lock `path`. If somebody else holds it, `waiting` is called once with the name that the holder left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting(path.read_text() or "another run")
            fcntl.flock(file, fcntl.LOCK_EX)
        if name is not None:
            file.truncate(0)
            file.write(name)
            file.flush()
        yield file
