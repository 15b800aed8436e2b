"""The process that the later steps of a local run fork from: it has loaded what most of them need, and nothing of ours.

    python step_server.py FD

Loading torch and transformers takes longer than many steps do. On the socket FD it gets the name of a file (JSON: argv,
env) with the descriptor that the step writes to, says that it has taken it, forks, and answers with the step's exit code.
It leaves when the other end is closed.
Run as a file, so that no module of ours is loaded before the step looks at its own code.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

LIBRARIES = (
    "kfp.dsl.executor_main",
    "pydantic",
    "pyarrow.parquet",
    "torch",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
)

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher too, which stops the step
    with socket.socket(fileno=descriptor) as connection:
        for name in LIBRARIES:
            with contextlib.suppress(Exception):  # the step that needs it will say what is wrong with it
                importlib.import_module(name)
        gc.freeze()  # what is loaded is garbage to nobody, and stays in pages that all steps share
        while True:
            request, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
            if not request:
                return
            connection.sendall(b"taken")
            server, child = os.getpid(), os.fork()
            if child == 0:
                connection.close()
                _leave_with(server)
                _become_step(json.loads(Path(os.fsdecode(request)).read_text(encoding="utf-8")), descriptors[0])
                return
            os.close(descriptors[0])
            _, status = os.waitpid(child, 0)
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _leave_with(server: int) -> None:
    """SIGTERM once the server is gone: the launcher then takes the step for ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != server:
        os._exit(128 + signal.SIGTERM)


def _become_step(request: dict[str, Any], output: int) -> None:
    """What `python -m kfp.dsl.executor_main` does, in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    importlib.import_module("kfp.dsl.executor_main").executor_main()


if __name__ == "__main__":
    main(int(sys.argv[1]))
