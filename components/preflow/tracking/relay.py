"""A recorder that is done waits a while for the next run of its home: to load mlflow takes seconds, to hand over none.

Only of runs that go to the home's own store, as it stands (`store`, its identity): what mlflow keeps open must still be the
file that is there, and a server's credentials are those of whoever starts a run.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from preflow.tracking.locks import held

LINGER_SECONDS = 20.0
HAND_OVER_SECONDS = 2.0
POLL_SECONDS = 0.1
WAITING, NEXT = "recorder.waiting", "recorder.next."


def hand_over(folder: Path, home: Path, store: str | None) -> bool:
    """Give a run to the recorder that waits for runs of `store`; False if there is none, or it does not take it."""
    if store is None:
        return False
    with held(home / f"{WAITING}.{store}", shared=True) as nobody_waits:
        if nobody_waits:
            return False
    note = home / f"{NEXT}{store}.{folder.name}"
    note.touch()
    deadline = time.monotonic() + HAND_OVER_SECONDS
    while time.monotonic() < deadline:
        if not note.exists():
            return True
        time.sleep(POLL_SECONDS)
    return not _took(note)


def wait_for_another(home: Path, current: Callable[[], str | None]) -> Path | None:
    """The folder of the next run to record; None if none comes, another recorder waits already, or the store is not the
    one any more that it was (`current` says which one it is)."""
    store = current()
    if store is None:
        return None
    with held(home / f"{WAITING}.{store}") as mine:
        if not mine:
            return None
        deadline, beginning = time.monotonic() + LINGER_SECONDS, f"{NEXT}{store}."
        while time.monotonic() < deadline:
            for note in home.glob(f"{beginning}*"):
                if current() != store:
                    return None
                if _took(note):
                    return home / "runs" / note.name.removeprefix(beginning)
            time.sleep(POLL_SECONDS)
    return None


def _took(note: Path) -> bool:
    """Whether it was this process that took a note away: exactly one does."""
    try:
        os.unlink(note)
    except FileNotFoundError:
        return False
    return True
