"""A recorder that is done waits a while for the next run of its home: to load mlflow takes seconds, to hand over none."""

import fcntl
import os
import time
from pathlib import Path

LINGER_SECONDS = 20.0
HAND_OVER_SECONDS = 2.0
POLL_SECONDS = 0.1
WAITING, NEXT = "recorder.waiting", "recorder.next."


def hand_over(folder: Path, home: Path) -> bool:
    """Give a run to the recorder that waits in `home`; False if there is none, or it does not take it."""
    with (home / WAITING).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            pass
    note = home / f"{NEXT}{folder.name}"
    note.touch()
    deadline = time.monotonic() + HAND_OVER_SECONDS
    while time.monotonic() < deadline:
        if not note.exists():
            return True
        time.sleep(POLL_SECONDS)
    return not _took(note)


def wait_for_another(home: Path) -> Path | None:
    """The folder of the next run to record; None if none comes, or another recorder waits already."""
    if not home.is_dir():
        return None
    with (home / WAITING).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < deadline:
            for note in home.glob(f"{NEXT}*"):
                if _took(note):
                    return home / "runs" / note.name.removeprefix(NEXT)
            time.sleep(POLL_SECONDS)
    return None


def _took(note: Path) -> bool:
    """Whether it was this process that took a note away: exactly one does."""
    try:
        os.unlink(note)
    except FileNotFoundError:
        return False
    return True
