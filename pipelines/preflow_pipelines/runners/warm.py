"""Steps of a local run as forks of one process that has loaded their libraries (`step_server`).

The server starts with the first step that needs them: a run whose steps are all reused has none. Where there is a GPU
every step starts as kfp starts it: CUDA does not survive a fork, and seconds are no matter there.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from preflow.steps.images import GENERATE_IMAGE, TRAIN_IMAGE

SERVER = Path(__file__).with_name("step_server.py")
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
HEAVY = (GENERATE_IMAGE, TRAIN_IMAGE)
EXECUTOR = "-m kfp.dsl.executor_main"
Run = Callable[..., int]


class WarmSteps:
    """Runs the commands of steps, `cold` by the function that kfp has for it. `image` is that of the next step."""

    def __init__(self, cold: Run):
        self.cold, self.image = cold, ""
        self._server: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def run(self, full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
        """The exit code of a step's command; what it prints is printed."""
        source, arguments = _of_executor(full_command)
        if self._server is None and source is not None and self.image in HEAVY and forks_are_safe():
            self._server = _start()
        if self._server is None or source is None:
            return self.cold(full_command=full_command, env_vars=env_vars)
        _, connection = self._server
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            module, request = Path(folder) / "ephemeral_component.py", Path(folder) / "request.json"
            module.write_text(source, encoding="utf-8")
            argv = ["executor_main", "--component_module_path", str(module), *arguments]
            env = {**os.environ, **(env_vars or {}), "_KFP_RUNTIME": "true"}
            request.write_text(json.dumps({"argv": argv, "env": env}), encoding="utf-8")
            try:
                return _ask(connection, request)
            except ConnectionError:  # the server is gone, and the step was not started
                self.close()
        return self.cold(full_command=full_command, env_vars=env_vars)

    def close(self) -> None:
        if self._server is not None:
            process, connection = self._server
            connection.close()
            process.kill()  # it may still be loading, and holds nothing
            process.wait()
            self._server = None


@contextmanager
def warm_steps(cold: Run) -> Iterator[WarmSteps]:
    """The server is gone in the end."""
    steps = WarmSteps(cold)
    try:
        yield steps
    finally:
        steps.close()


def forks_are_safe() -> bool:
    """Whether a step may be forked from a process that has loaded torch."""
    return sys.platform == "linux" and not any(os.path.exists(device) for device in GPUS)


def _of_executor(command: Sequence[str]) -> tuple[str | None, list[str]]:
    """The source and the arguments of a component's command, [sh, -ec, script, source, arguments ...]; else no source."""
    if len(command) > 4 and list(command[:2]) == ["sh", "-ec"] and EXECUTOR in command[2]:
        return command[3], list(command[4:])
    return None, []


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        descriptor = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(descriptor)],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "_KFP_RUNTIME": "true"},
        )
    return process, ours


def _ask(connection: socket.socket, request: Path) -> int:
    """The answer to a request, while what its step prints is printed. Raises ConnectionError if nobody takes it."""
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8", errors="replace") as printed:
        try:
            socket.send_fds(connection, [os.fsencode(request)], [writer])
        finally:
            os.close(writer)
        if not connection.recv(64):
            raise ConnectionError
        for line in printed:
            print(line, end="")
    return int(connection.recv(64) or 1)  # nothing: the server was killed, and with it what it knew of the step
