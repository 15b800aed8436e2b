"""The manifests as files: pinned images, no secret values, no wildcards, KFP's plugin by its own keys. No kubectl."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from manifest_rules import CLUSTER_SCOPED, MANIFESTS, containers, of_kind, pod_templates, read

FILES = sorted(MANIFESTS.rglob("*.yaml"))
OBJECTS = {
    path: [each for each in read(path.read_text(encoding="utf-8")) if "kind" in each]
    for path in FILES
    if path.name != "kustomization.yaml"
}
BASE = [each for path, objects in OBJECTS.items() if path.parent.name == "base" for each in objects]


def kustomization(folder: str) -> dict[str, Any]:
    return read((MANIFESTS / folder / "kustomization.yaml").read_text(encoding="utf-8"))[0]


def test_every_file_is_in_a_kustomization_or_says_that_it_is_not() -> None:
    for folder in {path.parent for path in FILES if (path.parent / "kustomization.yaml").is_file()}:
        text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
        for path in folder.glob("*.yaml"):
            if path.name != "kustomization.yaml" and path.name not in text:
                assert "Not in kustomization.yaml" in path.read_text(encoding="utf-8"), path


def test_every_image_is_pinned() -> None:
    pinned = {image["name"]: image for image in kustomization("base")["images"]}
    for image in pinned.values():
        version = str(image.get("digest") or image["newTag"])
        assert re.search(r"\d+\.\d+|^sha256:", version) and "latest" not in version, image
    used = {one["image"] for _, template in pod_templates(BASE) for one in containers(template["spec"])}
    assert used == set(pinned), "each image of base has its version in kustomization.yaml, and no other is listed"


def test_no_file_holds_a_secret() -> None:
    assert not [path for path, objects in OBJECTS.items() if of_kind(objects, "Secret")]
    for example in (MANIFESTS / "secrets").glob("*.example"):
        for line in example.read_text(encoding="utf-8").splitlines():
            assert line.endswith("="), f"{example}: an example holds names only"
    for objects in OBJECTS.values():
        for name, template in pod_templates(objects):
            for container in containers(template["spec"]):
                for variable in container.get("env", []):
                    secret = re.search(r"PASSWORD$|SECRET|TOKEN|ACCESS_KEY", variable["name"])
                    assert not (secret and "value" in variable), f"{name}: {variable['name']} is written out"


def test_filled_in_secrets_are_ignored_by_git() -> None:
    wanted = MANIFESTS / "secrets" / "bucket.env"
    assert subprocess.run(["git", "check-ignore", "-q", wanted], cwd=MANIFESTS).returncode == 0


def test_secrets_are_those_that_the_readme_and_the_generator_name() -> None:
    generated = {each["name"] for each in kustomization("secrets")["secretGenerator"]}
    text = yaml_text("base")
    named = set(re.findall(r"secretKeyRef: {name: ([a-z-]+)", text)) | set(
        re.findall(r"secretName: (mlflow[a-z-]*)", text)
    )
    assert named == generated
    readme = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in generated)


def yaml_text(folder: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((MANIFESTS / folder).glob("*.yaml")))


def test_base_holds_nothing_cluster_wide_and_roles_no_wildcard() -> None:
    assert not of_kind(BASE, *CLUSTER_SCOPED)
    for objects in OBJECTS.values():
        for role in of_kind(objects, "Role", "ClusterRole"):
            for rule in role["rules"]:
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], role["metadata"]["name"]
                assert "secrets" not in rule["resources"] or rule["resourceNames"], "secrets are read by name only"


def test_the_plugin_is_set_by_keys_that_kfp_2_17_has_and_finds_a_host_that_mlflow_allows() -> None:
    plugin = json.loads((MANIFESTS / "kfp-plugin" / "plugin.json").read_text(encoding="utf-8"))["plugins"]["mlflow"]
    assert set(plugin) <= {"endpoint", "timeout", "tls", "settings"}
    known = {"authType", "credentialSecretRef", "workspacesEnabled", "defaultExperimentName", "experimentDescription"}
    known |= {"kfpBaseURL", "kfpRunURLPathTemplate", "mlflowBaseURL", "mlflowUIPathPrefix", "injectUserEnvVars"}
    assert set(plugin["settings"]) <= known
    assert plugin["settings"]["authType"] == "none", "2.17.0 means kubernetes where nothing is said"
    assert plugin["settings"]["injectUserEnvVars"] is True, "else a step does not learn its run"
    host = plugin["endpoint"].removeprefix("http://")
    hosts = re.search(r'value: "(mlflow,[^"]*)"', (MANIFESTS / "base" / "mlflow.yaml").read_text(encoding="utf-8"))
    assert hosts and host in hosts[1].replace("$(NAMESPACE)", "kubeflow").split(",")


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "kfp-launcher.yaml"], ids=lambda p: p.parent.name
)
def test_the_launcher_knows_the_store_of_its_default_root(path: Path) -> None:
    data = OBJECTS[path][0]["data"]
    providers = read(data["providers"])[0]
    scheme = data["defaultPipelineRoot"].partition("://")[0]
    reference = providers[scheme]["default"]["credentials"]["secretRef"]
    assert set(reference) == {"secretName", "accessKeyKey", "secretKeyKey"}
    readable = [rule["resourceNames"] for role in of_kind(BASE, "Role") if role["metadata"]["name"] == "preflow-runner"
                for rule in role["rules"] if "secrets" in rule["resources"]]  # fmt: skip
    assert reference["secretName"] in readable[0]
