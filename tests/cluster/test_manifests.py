"""The manifests before a real API server (KUBECONFIG): accepted as they are, under the restricted pod security profile,
and with the rights that they say, no others. Nothing is started: what is applied is a dry run, but for roles."""

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifest_rules import CLUSTER_SCOPED, MANIFESTS, OVERLAYS, containers, of_kind, pod_templates, read

pytestmark = pytest.mark.cluster


def kubectl(*arguments: str | Path, given: str | None = None, fails: bool = False) -> str:
    """What kubectl printed; it must succeed, or fail if `fails`."""
    done = subprocess.run(
        ["kubectl", *map(str, arguments)], input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode != 0) == fails, f"kubectl {arguments}: {done.stdout}{done.stderr}"
    return done.stdout + (done.stderr if fails else "")


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A throw-away namespace that refuses pods outside of the restricted profile."""
    name = f"preflow-manifests-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        deadline = time.monotonic() + 60
        while "default" not in kubectl("-n", name, "get", "serviceaccounts", "-o", "name"):
            assert time.monotonic() < deadline, "the namespace got no default service account"
            time.sleep(0.5)
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def render(folder: Path, work: Path, namespace: str | None = None) -> str:
    """A folder's objects, in `namespace`, by an overlay over it as the README describes one."""
    work.mkdir(parents=True, exist_ok=True)
    lines = [f"resources: [{os.path.relpath(folder, work.resolve())}]"]
    (work / "kustomization.yaml").write_text("\n".join([*lines, f"namespace: {namespace}"] if namespace else lines))
    return kubectl("kustomize", work)


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(MANIFESTS / "overlays" / request.param, tmp_path_factory.mktemp("overlay") / "mine", namespace)


def test_a_real_api_server_takes_each_overlay(overlay: str, namespace: str) -> None:
    said = kubectl("apply", "--dry-run=server", "--warnings-as-errors", "-f", "-", given=overlay)
    assert len(said.splitlines()) == len(read(overlay))
    assert all("(server dry run)" in line for line in said.splitlines()), said


def test_an_overlay_stays_in_its_namespace(overlay: str, namespace: str) -> None:
    objects = read(overlay)
    assert not of_kind(objects, *CLUSTER_SCOPED, "Secret")
    assert {each["metadata"]["namespace"] for each in objects} == {namespace}
    namespaced = json.loads(kubectl("get", "--raw", "/apis/apps/v1"))["resources"]
    assert {each["kind"]: each["namespaced"] for each in namespaced}["StatefulSet"]
    for binding in of_kind(objects, "RoleBinding"):
        assert {subject["namespace"] for subject in binding["subjects"]} == {namespace}


def as_pod(name: str, template: dict[str, Any], objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The pod that a workload's template makes; claims of a StatefulSet become volumes."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": dict(template["spec"])}
    for owner in of_kind(objects, "StatefulSet"):
        if name.endswith(f"/{owner['metadata']['name']}"):
            claims = [claim["metadata"]["name"] for claim in owner["spec"]["volumeClaimTemplates"]]
            volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
            pod["spec"]["volumes"] = [*pod["spec"].get("volumes", []), *volumes]
    return pod


def test_every_pod_passes_the_restricted_profile(overlay: str, namespace: str) -> None:
    objects = read(overlay)
    for name, template in pod_templates(objects):
        pod = as_pod(name, template, objects)
        kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", given=json.dumps(pod))
        for container in containers(pod["spec"]):
            container.pop("securityContext")
        refused = kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", given=json.dumps(pod), fails=True)
        assert "violates PodSecurity" in refused, "the profile was not enforced: the check above proves nothing"


def test_every_pod_is_bounded_read_only_and_without_a_token(overlay: str) -> None:
    templates = dict(pod_templates(read(overlay)))
    assert set(templates) == {"Deployment/mlflow", "StatefulSet/mlflow-postgres", "CronJob/mlflow-backup"}
    for name, template in templates.items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(spec):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            for bound in ("requests", "limits"):
                assert set(container["resources"][bound]) == {"cpu", "memory", "ephemeral-storage"}, (name, bound)
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
            assert ":" in container["image"] and not container["image"].endswith(":latest")
        for volume in spec["volumes"]:
            assert "hostPath" not in volume
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
        if not name.startswith("CronJob"):
            probes = {"startupProbe", "readinessProbe", "livenessProbe"}
            assert all(probes <= set(container) for container in spec["containers"]), name


def test_every_pod_deployed_has_a_network_policy(overlay: str) -> None:
    policies = of_kind(read(overlay), "NetworkPolicy")
    for name, template in pod_templates(read(overlay)):
        labels = template["metadata"]["labels"].items()
        over = [each for each in policies if each["spec"]["podSelector"].get("matchLabels", {"": ""}).items() <= labels]
        assert [each["spec"]["policyTypes"] for each in over] == [["Ingress", "Egress"]], name


RUNNER = {
    "create argoproj.io/workflowtaskresults": True,
    "patch argoproj.io/workflowtaskresults": True,
    "get pods": True,
    "get configmaps kfp-launcher": True,
    "get secrets preflow-bucket": True,
    "get secrets another": False,
    "list secrets": False,
    "create pods": False,
    "patch pods": False,
    "get nodes": False,
}
SUBMITTER = {
    "get namespaces NAMESPACE": True,
    "get namespaces kube-system": False,
    "list namespaces": False,
    "get serviceaccounts preflow-runner": True,
    "list pods": True,
    "get pods:log": True,
    "list events": True,
    "create pods": True,
    "delete pods": True,
    "create services:proxy ml-pipeline:http": True,
    "create services:proxy another": False,
    "create pods:exec": False,
    "list secrets": False,
    "create rbac.authorization.k8s.io/rolebindings": False,
    "delete apps/deployments": False,
    "list nodes": False,
}


def may(user: str, right: str, namespace: str) -> bool:
    """The API server's answer to "verb [group/]resource[:subresource] [name]"."""
    verb, what, *name = right.split()
    group, _, resource = what.rpartition("/")
    resource, _, subresource = resource.partition(":")
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace}
    asked["name"] = "".join(name).replace("NAMESPACE", namespace)
    if resource == "namespaces":  # the API server asks about the namespace inside of itself
        asked["namespace"] = asked["name"]
    groups = ["system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": asked},
    }
    answer = json.loads(kubectl("create", "-f", "-", "-o", "json", given=json.dumps(review)))
    return bool(answer["status"]["allowed"])


def test_roles_allow_what_is_needed_and_nothing_else(namespace: str, tmp_path: Path) -> None:
    """Roles and bindings are applied, and the API server is asked."""
    objects = read(render(MANIFESTS / "base", tmp_path / "base", namespace))
    roles = of_kind(objects, "ServiceAccount", "Role", "RoleBinding")
    kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": roles}))
    kubectl("-n", namespace, "create", "rolebinding", "people", "--role=preflow-submitter", "--user=ada")
    for user, rights in ((f"system:serviceaccount:{namespace}:preflow-runner", RUNNER), ("ada", SUBMITTER)):
        assert {right: may(user, right, namespace) for right in rights} == rights, user


def test_the_readmes_overlay_is_accepted(namespace: str, tmp_path: Path) -> None:
    """Its first YAML example, with the namespace of this test, the digests made up, and the patch of the second one."""
    first, second = re.findall(r"```yaml\n(.*?)```", (MANIFESTS / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    mine = yaml.safe_load(first.replace("sha256:...", f"sha256:{'0' * 64}"))
    mine["namespace"] = namespace
    mine["resources"] = [os.path.relpath(MANIFESTS / "overlays" / "gpu-cluster", tmp_path.resolve())]
    mine["patches"] += yaml.safe_load(second)["patches"]
    shutil.copy(MANIFESTS / "overlays" / "gpu-cluster" / "kfp-launcher.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(mine), encoding="utf-8")
    made = kubectl("kustomize", tmp_path)
    kubectl("apply", "--dry-run=server", "--warnings-as-errors", "-f", "-", given=made)
    objects = read(made)
    images = {one["image"] for _, template in pod_templates(objects) for one in containers(template["spec"])}
    assert images == {f"registry.example/{name}@sha256:{'0' * 64}" for name in ("mlflow", "postgres")}
    assert not of_kind(objects, "StatefulSet")


def test_what_an_administrator_may_add_is_accepted(tmp_path: Path) -> None:
    said = kubectl(
        "apply", "--dry-run=server", "-f", "-", given=render(MANIFESTS / "cluster-admin", tmp_path / "admin")
    )
    assert said.count("(server dry run)") == 2


def test_the_generator_makes_the_secrets(namespace: str, tmp_path: Path) -> None:
    folder = shutil.copytree(MANIFESTS / "secrets", tmp_path / "secrets", ignore=shutil.ignore_patterns("*.env"))
    for example in folder.glob("*.env.example"):
        lines = example.read_text(encoding="utf-8").splitlines()
        example.with_suffix("").write_text("".join(f"{line}something\n" for line in lines))
    made = render(folder, tmp_path / "mine", namespace)
    assert {each["metadata"]["name"] for each in read(made)} == {"preflow-bucket", "mlflow-postgres"}
    kubectl("apply", "--dry-run=server", "-f", "-", given=made)


def test_the_plugins_patch_fits_a_kfp_api_server(namespace: str) -> None:
    container = {"name": "ml-pipeline-api-server", "image": "ghcr.io/kubeflow/kfp-api-server:2.17.0"}
    labels = {"app": "ml-pipeline"}
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ml-pipeline", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    }  # fmt: skip
    patch = MANIFESTS / "kfp-plugin" / "deployment-patch.yaml"
    patched = kubectl("patch", "--local", "-f", "-", "--patch-file", patch, "-o", "json", given=json.dumps(deployment))
    kubectl("apply", "--dry-run=server", "-f", "-", given=patched)
    (mount,) = json.loads(patched)["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == "/config/config.json" == f"/config/{mount['subPath']}"
