"""What a submission is told about a cluster that lacks something, and that asking leaves nothing behind.

Needs KFP_ENDPOINT, KUBECONFIG, AWS_ENDPOINT_URL and AWS_*; images for the small run.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes import client

from cluster.place import KFP_IN_PODS, context
from preflow.artifacts.bucket import Bucket
from preflow_pipelines.profile import ClusterProfile, save_profile
from preflow_pipelines.runners.cluster.access import kubernetes
from preflow_pipelines.runners.cluster.findings import Finding
from preflow_pipelines.runners.cluster.preflight import Wanted, preflight

pytestmark = pytest.mark.cluster
WITHIN_SECONDS = 60
NOWHERE = "registry.example.com/preflow/train@sha256:" + "0" * 64
WRONG = "wrong-" + secrets.token_hex(8)


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    """A profile's settings as this cluster has them; a bucket's prefix of this test's own."""
    return context(f"preflight-{secrets.token_hex(4)}")


@pytest.fixture(scope="module")
def core(base: dict[str, Any]) -> client.CoreV1Api:
    return kubernetes(ClusterProfile(**base))


@pytest.fixture
def s3_secret(core: client.CoreV1Api, base: dict[str, Any]) -> Iterator[str]:
    """A secret with the store's credentials, and a token beside them."""
    name = f"preflight-{secrets.token_hex(4)}"
    content = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")} | {"token": WRONG}
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name=name), string_data=content)
    core.create_namespaced_secret(base["namespace"], secret)
    yield name
    core.delete_namespaced_secret(name, base["namespace"])


@pytest.fixture(autouse=True)
def nothing_stays(core: client.CoreV1Api, base: dict[str, Any]) -> Iterator[None]:
    yield
    until = time.monotonic() + 20
    while left := _probes(core, base["namespace"]):
        assert time.monotonic() < until, f"pods left behind: {left}"
        time.sleep(0.5)
    assert Bucket(base["bucket"], base["bucket_endpoint_here"]).entries("") == []


def _probes(core: client.CoreV1Api, namespace: str) -> list[str]:
    found = core.list_namespaced_pod(namespace, label_selector="app.kubernetes.io/component=probe")
    return [pod.metadata.name for pod in found.items if not pod.metadata.deletion_timestamp]


def ask(base: dict[str, Any], tmp_path: Path, wanted: Wanted | None = None, **changed: Any) -> list[Finding]:
    started = time.monotonic()
    found = preflight(ClusterProfile(**{**base, **changed}), wanted or Wanted(), tmp_path / "images.json")
    assert time.monotonic() - started < WITHIN_SECONDS
    assert WRONG not in repr(found) and os.environ["AWS_SECRET_ACCESS_KEY"] not in repr(found)
    return found


def problems(found: list[Finding]) -> dict[str, str]:
    assert all(each.fix for each in found if each.state == "problem"), "a problem without a fix"
    return {each.name: f"{each.found} {each.fix}" for each in found if each.state == "problem"}


def test_a_cluster_as_it_should_be(base: dict[str, Any], s3_secret: str, tmp_path: Path) -> None:
    found = ask(base, tmp_path, bucket_secret=s3_secret, secrets={"HF_TOKEN": f"{s3_secret}/token"})
    states = {each.name: each.state for each in found}
    assert states == dict.fromkeys(["api", "credentials", "namespace", "bucket", "MLflow", f"secret {s3_secret}"], "ok")


def test_wrong_url(base: dict[str, Any], tmp_path: Path) -> None:
    assert "nothing listens there" in problems(ask(base, tmp_path, api="http://127.0.0.1:1"))["api"]
    elsewhere = problems(ask(base, tmp_path, api=base["mlflow_here"]))["api"]
    assert "Mend `api` of the context" in elsewhere
    assert "speaks no TLS" in problems(ask(base, tmp_path, api=base["api"].replace("http:", "https:")))["api"]


def test_missing_namespace(base: dict[str, Any], tmp_path: Path) -> None:
    found = problems(ask(base, tmp_path, namespace="no-such-namespace"))
    assert "there is no namespace no-such-namespace" in found["namespace"]


def test_missing_bucket(base: dict[str, Any], tmp_path: Path) -> None:
    found = problems(ask(base, tmp_path, bucket=f"minio://no-such-bucket-{secrets.token_hex(4)}/x"))
    assert list(found) == ["bucket"] and "there is no such bucket" in found["bucket"]
    nobody = problems(ask(base, tmp_path, bucket_endpoint_here="http://127.0.0.1:1"))
    assert "does not answer" in nobody["bucket"]


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_of_the_bucket(
    name: str, base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = os.environ[name]
    monkeypatch.setenv(name, WRONG)
    found = ask(base, tmp_path)
    monkeypatch.setenv(name, right)
    assert "credentials" in problems(found)["bucket"] and "AWS_" in problems(found)["bucket"]


def test_wrong_credentials_of_kubernetes(base: dict[str, Any], tmp_path: Path) -> None:
    import yaml

    content = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    for user in content["users"]:
        user["user"] = {"token": WRONG}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    found = problems(ask(base, tmp_path, kubeconfig=str(tmp_path / "kubeconfig")))
    assert "does not know these credentials, or they expired" in found["Kubernetes"]
    auth = {"kind": "port_forward"}
    both = problems(ask(base, tmp_path, kubeconfig=str(tmp_path / "kubeconfig"), auth=auth))
    assert "HTTP 401" in both["api"]


FORWARD = """
import socketserver, socket, threading, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
        def copy(a, b):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        threading.Thread(target=copy, args=(self.request, there), daemon=True).start()
        copy(there, self.request)
socketserver.ThreadingTCPServer(("", 8888), Handler).serve_forever()
"""


@pytest.fixture
def service(core: client.CoreV1Api, base: dict[str, Any], images: Path) -> Iterator[str]:
    """A service in the namespace with a pod behind it that passes all on to the API."""
    inside = urlsplit(KFP_IN_PODS)
    name, namespace = f"preflight-{secrets.token_hex(4)}", base["namespace"]
    about = client.V1ObjectMeta(name=name, labels={"forward": name})
    spec = client.V1ServiceSpec(ports=[client.V1ServicePort(port=8888)], selector={"forward": name})
    container = client.V1Container(
        name="forward",
        image=_references(images)[0],
        command=["python", "-c", FORWARD, str(inside.hostname), str(inside.port)],
        readiness_probe=client.V1Probe(tcp_socket=client.V1TCPSocketAction(port=8888), period_seconds=1),
    )
    pod = client.V1PodSpec(containers=[container], termination_grace_period_seconds=0)
    try:
        core.create_namespaced_service(namespace, client.V1Service(metadata=about, spec=spec))
        core.create_namespaced_pod(namespace, client.V1Pod(metadata=about, spec=pod))
        until = time.monotonic() + 60
        while not any(each.ready for each in core.read_namespaced_pod(name, namespace).status.container_statuses or []):
            assert time.monotonic() < until, "the forwarding pod is not ready"
            time.sleep(0.5)
        time.sleep(2)  # until the API server has its address
        yield name
    finally:
        core.delete_namespaced_service(name, namespace)
        core.delete_namespaced_pod(name, namespace)


def test_through_the_kubernetes_api(base: dict[str, Any], service: str, tmp_path: Path) -> None:
    found = ask(base, tmp_path, api="", auth={"kind": "port_forward", "service": service})
    assert not problems(found)
    nobody = problems(ask(base, tmp_path, api="", auth={"kind": "port_forward", "service": "nobody"}))
    assert "service nobody:8888 of namespace" in nobody["api"] and "Mend auth.service" in nobody["api"]


def test_without_rights_what_cannot_be_seen_is_not_checked(
    base: dict[str, Any], core: client.CoreV1Api, tmp_path: Path
) -> None:
    import yaml

    name, namespace = f"preflight-{secrets.token_hex(4)}", base["namespace"]
    core.create_namespaced_service_account(namespace, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name=name)))
    try:
        request = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)
        )
        token = core.create_namespaced_service_account_token(name, namespace, request).status.token
        content = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        for user in content["users"]:
            user["user"] = {"token": token}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
        found = ask(
            base, tmp_path, Wanted({"train": NOWHERE}), kubeconfig=str(tmp_path / "kubeconfig"), bucket_secret="any"
        )
    finally:
        core.delete_namespaced_service_account(name, namespace)
    states = {each.name: each.state for each in found}
    assert [states[each] for each in ("namespace", "secret any", "image train")] == ["not checked"] * 3
    assert not problems(found)


def test_unreachable_mlflow(base: dict[str, Any], tmp_path: Path) -> None:
    found = problems(ask(base, tmp_path, mlflow_here="http://127.0.0.1:1"))
    assert list(found) == ["MLflow"] and "nothing listens there" in found["MLflow"]


def test_missing_secrets(base: dict[str, Any], s3_secret: str, tmp_path: Path) -> None:
    named = {"HF_TOKEN": "no-such-secret/token", "OPENAI_API_KEY": f"{s3_secret}/openai"}
    found = problems(ask(base, tmp_path, bucket_secret=s3_secret, service_account="nobody", secrets=named))
    assert "there is no secret no-such-secret" in found["secret no-such-secret"]
    assert "lacks openai" in found[f"secret {s3_secret}"]
    assert "there is no service account nobody" in found["service account"]


def test_images_that_cannot_be_pulled(base: dict[str, Any], tmp_path: Path) -> None:
    wanted = Wanted({"data": "preflow/data:latest", "train": NOWHERE})
    found = problems(ask(base, tmp_path, wanted))
    assert "is not pinned" in found["image data"]
    assert "cannot be pulled" in found["image train"] and "--pull-secret" in found["image train"]
    assert not (tmp_path / "images.json").exists(), "what cannot be pulled is remembered"


def test_no_node_for_a_role(base: dict[str, Any], tmp_path: Path) -> None:
    from preflow_pipelines.hardware import RoleHardware

    def why_no_node(role: RoleHardware, nodes: Any) -> str | None:
        labels = [node["metadata"]["labels"] for node in nodes]
        fits = any(role.node_selector.items() <= each.items() for each in labels)
        return None if fits else "no node has these labels. Label one."

    wanted = Wanted(
        {},
        {"train": RoleHardware(node_selector={"preflight": "nowhere"}), "data": RoleHardware()},
        why_no_node,
    )
    assert list(problems(ask(base, tmp_path, wanted))) == ["node for train"]


@pytest.fixture
def images(lock_path: Path) -> Path:
    return lock_path


def doctor(home: Path, *, code: int) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, "-m", "preflow_pipelines.cli.main", "doctor", "--cluster", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PREFLOW_HOME": str(home)},
    )
    assert found.returncode == code, found.stderr + found.stdout
    assert "Traceback" not in found.stderr and WRONG not in found.stdout + found.stderr
    return {each["check"]: each for each in json.loads(found.stdout)}


def test_doctor_proves_the_cluster(base: dict[str, Any], s3_secret: str, images: Path, tmp_path: Path) -> None:
    more = {"bucket_secret": s3_secret, "images": str(images), "secrets": {"HF_TOKEN": f"{s3_secret}/token"}}
    save_profile(tmp_path, "test", ClusterProfile(**base, **more))
    found = doctor(tmp_path, code=0)
    parts = ["pods", "artifact store", "bucket from pods", "secrets in pods", "MLflow from pods", "image data"]
    assert all(found[part]["ok"] for part in parts)
    assert len(json.loads((tmp_path / "cache" / "images.json").read_text())) == len(set(_references(images)))
    again = ask({**base, **more}, tmp_path / "cache", Wanted({"data": _references(images)[0]}))
    assert {each.name: each.found for each in again}["image data"] == "pulled before"


def test_doctor_finds_what_only_pods_see(base: dict[str, Any], s3_secret: str, images: Path, tmp_path: Path) -> None:
    wrong = {"bucket_secret": s3_secret, "images": str(images), "mlflow": "http://127.0.0.1:1"}
    save_profile(tmp_path, "test", ClusterProfile(**{**base, **wrong}))
    found = doctor(tmp_path, code=1)
    assert found["bucket from pods"]["ok"] and not found["MLflow from pods"]["ok"]
    assert "as pods reach it" in found["MLflow from pods"]["fix"]


def test_doctor_tries_no_run_where_something_is_missing(base: dict[str, Any], images: Path, tmp_path: Path) -> None:
    save_profile(tmp_path, "test", ClusterProfile(**base, images=str(images), bucket_secret="no-such-secret"))
    found = doctor(tmp_path, code=1)
    assert found["small run"]["ok"] is None and found["secret no-such-secret"]["ok"] is False


def _references(images: Path) -> list[str]:
    return [each["image"] for each in json.loads(images.read_text()).values() if isinstance(each, dict)]
