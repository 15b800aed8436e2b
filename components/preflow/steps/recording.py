"""A step in a pod is recorded while it works, and when it fails, by a process of its own: the server may hang, or be down.

The process is started by its name, so what records a step is no part of the step's code.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from preflow.steps.lifeline import Stopped, deferred_stop
from preflow.steps.pod import in_pod

RECORDER = "preflow.tracking.pod"
LIVE_AFTER_SECONDS = 20.0
"""A step that works for longer is recorded while it works; one that does not, by the run's last task alone."""
LAST_SECONDS, FAILED_SECONDS = 15.0, 55.0
"""How long a pod waits for what is still to be written: at a step's end, and when the whole run has to be closed."""


@contextmanager
def recorded(task: str) -> Iterator[None]:
    """While the block runs, if the pod's environment names a server. Nothing that goes wrong here concerns the step."""
    if not (in_pod() and os.environ.get("PREFLOW_TRACKING_URI")):
        yield
        return
    live = _Live(task)
    try:
        yield
    except BaseException as error:
        live.end(0.0)
        if not isinstance(
            error, (SystemExit, Stopped)
        ):  # else it was told to leave, is tried again: its run stays open
            _end(_start("failed", task), FAILED_SECONDS)
        raise
    with deferred_stop():
        live.end(LAST_SECONDS)


class _Live:
    """A recorder that starts when the step has worked for a while."""

    def __init__(self, task: str):
        self.task = task
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over, self._lock = False, threading.Lock()
        self._timer = threading.Timer(LIVE_AFTER_SECONDS, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def _begin(self) -> None:
        with self._lock:
            if not self._is_over:
                self._process = _start("live", self.task)

    def end(self, seconds: float) -> None:
        """The step has ended; the recorder may take so long for what is left."""
        self._timer.cancel()
        with self._lock:
            self._is_over = True
        _end(self._process, seconds)


def _start(mode: str, task: str) -> "subprocess.Popen[bytes] | None":
    command = [sys.executable, "-m", RECORDER, mode, task]
    try:  # in a session of its own: what is sent to the step's group is not for it
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        print(f"{time.strftime('%H:%M:%S')} WARNING: not recorded in MLflow: {error}", flush=True)
        return None


def _end(process: "subprocess.Popen[bytes] | None", seconds: float) -> None:
    """Tell a recorder that the step has ended, and wait for it as long as it may take."""
    if process is None:
        return
    try:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        if seconds:
            print(f"{time.strftime('%H:%M:%S')} WARNING: MLflow was not done after {seconds:.0f}s", flush=True)
    finally:  # also when the pod is told to stop meanwhile
        process.kill()
        process.wait()
