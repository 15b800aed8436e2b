"""A step dies with its launcher: a thread blocks on a lock that the launcher holds as long as it lives."""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

GRACE_SECONDS = 20.0


class Stopped(BaseException):
    """SIGTERM arrived: save what is needed and leave. Not an Exception, so that nothing swallows it."""


def hold_on_to_launcher(lock_path: str) -> None:
    """Watch `lock_path` from a daemon thread; when the launcher is gone, SIGTERM this process, then end it."""
    threading.Thread(target=_watch, args=(lock_path,), daemon=True, name="lifeline").start()


def _watch(lock_path: str) -> None:
    with open(lock_path) as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # returns when the launcher, which holds it exclusively, is gone
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(143)


def stop_on_sigterm() -> None:
    """Turn SIGTERM into `Stopped` in the main thread."""
    signal.signal(signal.SIGTERM, _raise_stopped)


def _raise_stopped(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the saving
    raise Stopped


@contextmanager
def deferred_stop() -> Iterator[Callable[[], bool]]:
    """While work must not be torn apart: SIGTERM only sets what the yielded function returns."""
    requested = False

    def remember(number: int, frame: Any) -> None:
        nonlocal requested
        requested = True

    before = signal.signal(signal.SIGTERM, remember)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGTERM, before)
