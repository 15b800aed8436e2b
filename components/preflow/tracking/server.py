"""MLflow's pages over the home's own store: a server of this machine for this machine."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preflow.artifacts.files import replace_json
from preflow.errors import SettingsError
from preflow.tracking.store import ARTIFACTS, configure, local_uri

HOST, PORT, PORTS = "127.0.0.1", 5050, 50
START_SECONDS = 120.0  # a starved machine took two minutes
STATE, LOG = "ui.json", "ui.log"
LEAN = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges and prompt optimization in the background cost 0.9 GiB
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def base_url(port: int) -> str:
    return f"http://{HOST}:{port}"


def running_server(home: Path) -> str | None:
    """The URL of a server that shows this home's runs, if one answers."""
    try:
        state = json.loads((home / STATE).read_text(encoding="utf-8"))
        os.kill(state["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    url = base_url(state["port"])
    return url if answers(url) else None


def answers(url: str) -> bool:
    """Whether an MLflow server is ready there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port(wanted: int) -> int:
    """`wanted`, or the next port that nobody listens on. Raises SettingsError if many in a row are taken."""
    for port in range(wanted, min(wanted + PORTS, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise SettingsError(
        f"port {wanted}: it and the {PORTS} after it are taken. Expected a free one; name another with --port."
    )


@contextmanager
def serving(home: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that is ready when the block begins and gone when it ends. Raises SettingsError if it does not start."""
    configure()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", local_uri(home), "--default-artifact-root", (home / ARTIFACTS).as_uri()]
    command += ["--uvicorn-opts", "--timeout-worker-healthcheck 60"]
    with (home / LOG).open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | LEAN,
            start_new_session=True,  # its workers are processes of their own; they end with it
        )
    try:
        _wait(process, base_url(port), home / LOG)
        replace_json(home / STATE, {"pid": process.pid, "port": port})
        yield process
    finally:
        (home / STATE).unlink(missing_ok=True)
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the server's whole session: a worker outlives a terminated server."""
    for number, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            said = f"it ended with {process.returncode}" if process.returncode is not None else "it does not answer"
            raise SettingsError(
                f"the MLflow server did not start ({said}: {' '.join(last)}). Its log: {log}. Try another --port."
            )
        time.sleep(0.2)
