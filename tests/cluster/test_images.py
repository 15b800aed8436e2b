"""The images as pods: non-root, without capabilities, on a read-only root, with what their steps import."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.build_images import NAMESPACE
from preflow.steps.images import IMAGES, source_digest
from preflow_pipelines.runners.cluster.images import ImagesLock, read_lock

pytestmark = pytest.mark.cluster
IMPORTS = {
    "data": "preflow.steps.import_data.step, preflow.steps.report.step, preflow.tracking.recorder",
    "generate": "preflow.steps.evaluate.step, preflow.steps.evaluate_unlearning.step, transformers, scipy.stats",
    "train": "preflow.steps.train_preference.step, preflow.steps.train_rl.step, accelerate, peft",
}
REPORT = """
import json, os, pathlib, tempfile, kfp.dsl.executor_main, preflow.steps.images as images, {imports}
status = dict(line.split(':', 1) for line in pathlib.Path('/proc/self/status').read_text().splitlines() if ':' in line)
def writable(folder):
    try: return bool(tempfile.TemporaryFile(dir=folder))
    except OSError: return False
folders = [v for n, v in os.environ.items() if n.endswith(('HOME', '_DIR', 'TMPDIR', 'CONFIGDIR')) and n[:4] != 'PIP_']
print(json.dumps({{
    'uid': os.getuid(), 'capabilities': int(status['CapEff'], 16) | int(status['CapPrm'], 16),
    'elsewhere': [f for f in folders if f != '/tmp' and not f.startswith('/tmp/')],
    'writable': [f for f in ('/', '/opt/preflow', '/opt/preflow/code', '/opt/preflow/more', '/tmp') if writable(f)],
    'source': images.source_digest()}}))
"""


@pytest.fixture(scope="module")
def lock(lock_path: Path) -> ImagesLock:
    return read_lock(lock_path)


def kubectl(*words: str, content: str | None = None) -> str:
    done = subprocess.run(
        ["kubectl", "--namespace", NAMESPACE, *words], input=content, capture_output=True, text=True, check=True
    )
    return done.stdout


def pod(name: str, image: str, code: str) -> str:
    """What a pod as a security team wants it prints when it runs `code`."""
    container = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", code],
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    kubectl(
        "apply",
        "-f",
        "-",
        content=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}),
    )
    try:
        kubectl(
            "wait", f"pod/{name}", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", "--timeout=300s"
        )
        return kubectl("logs", name)
    finally:
        kubectl("delete", "--wait=false", f"pod/{name}")


@pytest.fixture(autouse=True)
def no_pods_left() -> Iterator[None]:
    yield
    kubectl("delete", "--ignore-not-found", *[f"pod/images-{role}" for role in IMAGES])


@pytest.mark.parametrize("role", IMAGES)
def test_an_image_runs_as_a_security_team_wants_it(lock: ImagesLock, role: str) -> None:
    printed = pod(f"images-{role}", lock.reference(role), REPORT.format(imports=IMPORTS[role]))
    found = json.loads(printed.splitlines()[-1])
    assert found == {
        "uid": 1000,
        "capabilities": 0,
        "elsewhere": [],
        "writable": ["/tmp"],
        "source": source_digest(),
    }, printed


def test_data_lacks_torch_and_the_others_have_it(lock: ImagesLock) -> None:
    assert "torch" not in lock.images["data"].modules
    assert {"torch", "transformers"} <= lock.images["generate"].modules
    assert {"torch", "accelerate", "peft"} <= lock.images["train"].modules
