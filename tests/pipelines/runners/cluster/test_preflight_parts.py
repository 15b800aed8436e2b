"""What a probe's pod says about its image, which secrets a profile needs, and how a check that hangs is left."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from preflow.artifacts.bucket import explain_error
from preflow.errors import ClusterError
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.findings import Finding, ok, problem, refuse_problems
from preflow_pipelines.runners.cluster.image_probe import check_images, outcome_of
from preflow_pipelines.runners.cluster.kubernetes_checks import named_secrets
from preflow_pipelines.runners.cluster.preflight import _Aside, inside_only
from preflow_pipelines.runners.cluster.proof_steps import look, read

REFERENCE = "registry.example.com/train@sha256:" + "0" * 64


def pod(waiting: tuple[str, str] | None = None, *, terminated: bool = False, unscheduled: str = "") -> Any:
    state = client.V1ContainerState(
        waiting=client.V1ContainerStateWaiting(reason=waiting[0], message=waiting[1]) if waiting else None,
        terminated=client.V1ContainerStateTerminated(exit_code=0) if terminated else None,
    )
    status = client.V1ContainerStatus(
        name="probe", ready=False, restart_count=0, image=REFERENCE, image_id="", state=state
    )
    condition = client.V1PodCondition(
        type="PodScheduled", status="False" if unscheduled else "True", message=unscheduled or None
    )
    return client.V1Pod(
        status=client.V1PodStatus(container_statuses=None if unscheduled else [status], conditions=[condition])
    )


@pytest.mark.parametrize(
    ("given", "late", "state", "said"),
    [
        (pod(terminated=True), False, "ok", "can be pulled"),
        (pod(("CreateContainerError", "no such file: true")), False, "ok", "can be pulled"),
        (pod(("ErrImagePull", "401 unauthorized")), False, "problem", "ErrImagePull: 401 unauthorized"),
        (pod(("ImagePullBackOff", "")), False, "problem", "no message"),
        (pod(("InvalidImageName", "bad")), False, "problem", "make push"),
        (pod(("ContainerCreating", "")), True, "ok", "still being pulled"),
        (pod(unscheduled="0/1 nodes are available"), True, "not checked", "0/1 nodes are available"),
    ],
)
def test_what_a_pod_says_about_its_image(given: Any, late: bool, state: str, said: str) -> None:
    outcome = outcome_of(given, REFERENCE, late)
    assert outcome is not None and outcome.state == state and said in f"{outcome.found} {outcome.fix}"


def test_too_early_to_say() -> None:
    assert outcome_of(pod(("ContainerCreating", "")), REFERENCE, False) is None
    assert outcome_of(client.V1Pod(status=client.V1PodStatus()), REFERENCE, False) is None


def test_a_mutable_tag_is_refused_without_asking_anybody(tmp_path: Path) -> None:
    profile = ClusterProfile(api="http://x", bucket="s3://b")
    found = list(check_images(None, profile, {"train": "registry.example.com/train:latest"}, tmp_path / "images.json"))
    assert [each.state for each in found] == ["problem"] and "make push" in found[0].fix


def test_secrets_that_a_profile_needs() -> None:
    profile = ClusterProfile(
        api="http://x",
        bucket="s3://b",
        bucket_secret="one",
        mlflow_secret="one",
        pull_secret="registry",
        secrets={"HF_TOKEN": "hub/token", "OPENAI_API_KEY": "hub/openai"},
    )
    found = named_secrets(profile)
    assert found["hub"] == [("openai", "token")]
    s3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert found["one"] == [
        (*s3, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        (*s3, "MLFLOW_TRACKING_TOKEN"),
    ]
    assert found["registry"] == [(".dockerconfigjson",), (".dockercfg",)]


def test_problems_are_refused_together() -> None:
    refuse_problems([ok("api", "there"), Finding("nodes", "not checked", "forbidden")])
    with pytest.raises(ClusterError) as error:
        refuse_problems([problem("bucket", "s3://b: is not there. Make it."), problem("MLflow", "gone. Start it.")])
    assert str(error.value) == "bucket: s3://b: is not there. Make it.\nMLflow: gone. Start it."


def test_a_check_that_hangs_is_left_and_what_it_found_kept() -> None:
    over = threading.Event()

    def check(profile: ClusterProfile) -> Iterator[Finding]:
        yield ok("first", "there")
        over.wait()

    aside = _Aside("slow", check, ClusterProfile(api="http://x", bucket="s3://b"))
    found = aside.findings(time.monotonic() + 0.2)
    over.set()
    assert [(each.name, each.state) for each in found] == [("first", "ok"), ("slow", "problem")]


def test_names_that_only_the_cluster_knows() -> None:
    inside = ("http://minio-service.kubeflow:9000", "http://mlflow", "http://mlflow.ns.svc.cluster.local:5000")
    assert all(map(inside_only, inside))
    outside = (
        "http://localhost:5000",
        "https://mlflow.example.com",
        "http://10.1.2.3:5000",
        "https://s3.amazonaws.com",
    )
    assert not any(map(inside_only, outside))


def test_words_of_stores() -> None:
    assert "does not know these credentials" in explain_error("No user exists with the provided access key ID", None)
    assert "is no S3 store" in explain_error("AWS Error RESOURCE_NOT_FOUND during CreateMultipartUpload", "http://x")


def test_steps_of_the_proof_say_what_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOW_BUCKET", "minio://bucket")
    monkeypatch.setenv("PREFLOW_BUCKET_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", "not-to-be-seen")
    report, again = (type("Artifact", (), {"path": str(tmp_path / name)}) for name in ("report", "again"))
    look.python_func(report, "probe-1", '["HF_TOKEN", "OTHER_TOKEN"]')
    read.python_func(report, again)
    text = (tmp_path / "again").read_text()
    assert "does not answer" in text and "empty: OTHER_TOKEN" in text and "refused" in text
    assert "not-to-be-seen" not in text
