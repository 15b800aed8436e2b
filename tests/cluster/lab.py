"""A desk from which runs are submitted, and a second pair of eyes on the cluster: Kubernetes, the bucket, the pods' logs."""

import base64
import contextlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client

from cluster.place import NAMESPACE, bucket_at, context
from journey_kit import Desk
from preflow.errors import BucketError
from preflow_pipelines.profile import ClusterProfile, save_profile
from preflow_pipelines.runners.cluster.access import kubernetes

MAIN = "main"


class Lab:
    """`token` is a secret of the user's that pods get: it must turn up nowhere. `gate` is one that a scorer asks."""

    def __init__(self, folder: Path, lock: Path):
        self.desk = Desk(folder / "desk")
        self.namespace = NAMESPACE
        self.token = f"token-{secrets.token_hex(12)}"
        self.mark = secrets.token_hex(4)
        place = f"preflow-{self.mark}"
        self.profile = ClusterProfile.model_validate(
            {
                **context(place),
                "bucket_secret": f"preflow-bucket-{self.mark}",
                "images": str(lock),
                "secrets": {
                    "HF_TOKEN": f"preflow-user-{self.mark}/token",
                    "TEST_GATE": f"preflow-user-{self.mark}/gate",
                },
            }
        )
        save_profile(self.desk.home, "lab", self.profile)
        self.core: client.CoreV1Api = kubernetes(self.profile)
        keys = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        self.make_secret("preflow-bucket", keys)
        self.make_secret("preflow-user", {"token": self.token, "gate": "open"})
        self.bucket = bucket_at(place)

    def make_secret(self, name: str, content: dict[str, str]) -> None:
        about = client.V1ObjectMeta(name=f"{name}-{self.mark}")
        self.core.create_namespaced_secret(self.namespace, client.V1Secret(metadata=about, string_data=content))

    def set_gate(self, value: str) -> None:
        """What the pods of the next steps find in TEST_GATE."""
        data = {"data": {"gate": base64.b64encode(value.encode()).decode()}}
        self.core.patch_namespaced_secret(f"preflow-user-{self.mark}", self.namespace, data)

    def close(self) -> None:
        for name in ("preflow-bucket", "preflow-user"):
            self.core.delete_namespaced_secret(f"{name}-{self.mark}", self.namespace)
        with contextlib.suppress(BucketError):  # a run that a failed test has left still writes there
            self.bucket.delete("")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A submission that looks on."""
        return self.desk.start("submit", *arguments, "--wait", "--json")

    def finish(self, process: "subprocess.Popen[str]", code: int = 0) -> dict[str, Any]:
        output, errors = process.communicate(timeout=3600)
        assert process.returncode == code, f"exit {process.returncode}\n{output}\n{errors}"
        found: dict[str, Any] = json.loads(output)
        return found

    def submit(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        return self.finish(self.start(*arguments), code)

    def again(self, *arguments: str) -> dict[str, Any]:
        """`rerun` or `retry`, to its end."""
        found: dict[str, Any] = json.loads(self.desk.call(*arguments, "--wait", "--json"))
        return found

    def folder(self, run: str) -> Path:
        return self.desk.home / "runs" / run

    def runs(self) -> set[str]:
        """The runs that are on their way, or over."""
        return {path.parent.name for path in (self.desk.home / "runs").glob("*/cluster.json")}

    def read(self, run: str, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder(run) / name).read_text()))

    def files(self, run: str) -> dict[str, dict[str, dict[str, str]]]:
        """task -> output -> name -> sha256, of what has no times in it."""
        return files_of(self.folder(run))

    def pods(self, run: str, task: str) -> list[Any]:
        """The pods of a task, oldest first."""
        label = f"pipeline/runid={self.read(run, 'cluster.json')['kfp_run']}"
        found = self.core.list_namespaced_pod(self.namespace, label_selector=label).items
        mine = [pod for pod in found if _task(pod) == task]
        return sorted(mine, key=lambda pod: pod.metadata.creation_timestamp)

    def log(self, pod: str) -> str:
        return str(self.core.read_namespaced_pod_log(pod, self.namespace, container=MAIN))

    def until(self, what: str, found: Callable[[], Any], seconds: float = 600) -> Any:
        """Wait for something to be true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answer := found():
                return answer
            time.sleep(0.5)
        raise AssertionError(f"not within {seconds:.0f} s: {what}")


def files_of(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """What a run's records say of its outputs, here and on a cluster alike."""
    records = [json.loads(path.read_text()) for path in sorted((folder / "steps").glob("*.record.json"))]
    return {
        record["task"]: {
            name: plain(files) for name, files in record["files"].items() if name not in ("journal", "page", "numbers")
        }
        for record in records
    }


def plain(files: dict[str, Any]) -> dict[str, str]:
    """Digests by name; a folder's manifest tells where it lay, and is none of its content."""
    found = {name: each["sha256"] if isinstance(each, dict) else each for name, each in files.items()}
    return {name: digest for name, digest in found.items() if name != "manifest.json"}


def _task(pod: Any) -> str | None:
    main = next((each for each in pod.spec.containers if each.name == MAIN), None)
    return next((each.value for each in (main.env or []) if each.name == "PREFLOW_TASK"), None) if main else None
