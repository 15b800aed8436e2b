"""A compiled workflow bound to a cluster: images, lineages, environment; and nothing of a run among its parameters."""

import json
from pathlib import Path
from typing import Any

import pytest

from preflow_pipelines.compile import pipeline_spec
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.binding import bind_run, lineages, roles_of, task_identities, with_images
from preflow_pipelines.runners.tasks import TRACK, Spec, tasks_of
from starters import starter_plan

PROFILE = ClusterProfile(
    api="http://kfp:8888",
    bucket="minio://lab/preflow",
    bucket_endpoint="http://minio:9000",
    bucket_secret="preflow-bucket",
    mlflow="http://mlflow:5000",
    mlflow_secret="preflow-mlflow",
    secrets={"HF_TOKEN": "hub/token"},
)
IMAGES = {role: f"lab/{role}@sha256:{'0' * 64}" for role in ("data", "generate", "train")}
REBUILT = {role: f"lab/{role}@sha256:{'1' * 64}" for role in IMAGES}


def compiled(folder: Path, method: str = "dpo", **changes: Any) -> tuple[Spec, dict[str, Any], dict[str, str]]:
    plan = starter_plan(method, folder, **changes)
    spec, platform = pipeline_spec(plan, Hardware(), PROFILE)
    uris = {name: f"minio://lab/preflow/inputs/{name}" for name in plan.inputs}
    return spec, platform, {**plan.sections, **{f"{name}_uri": uri for name, uri in uris.items()}}


def lineages_of(
    spec: Spec, arguments: dict[str, str], images: dict[str, str] = IMAGES, **nonces: str
) -> dict[str, str]:
    uris = {name.removesuffix("_uri"): value for name, value in arguments.items() if name.endswith("_uri")}
    tasks = tasks_of(with_images(spec, images))
    return lineages(tasks, arguments, uris, {name.replace("_", "-"): nonce for name, nonce in nonces.items()})


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def test_a_change_reaches_what_depends_on_it(tmp_path: Path) -> None:
    spec, _, arguments = compiled(tmp_path)
    before = lineages_of(spec, arguments)
    _, _, other_beta = compiled(tmp_path, loss={"beta": 0.3})
    assert differing(before, lineages_of(spec, other_beta)) == {"train-preference", "evaluate", "report"}
    assert differing(before, lineages_of(spec, arguments, evaluate="ab12")) == {"evaluate", "report"}
    other_rows = arguments | {"data_files_uri": "minio://lab/preflow/inputs/other"}
    assert differing(before, lineages_of(spec, other_rows)) == set(before)
    rebuilt = IMAGES | {"train": REBUILT["train"]}
    assert differing(before, lineages_of(spec, arguments, rebuilt)) == set(before) - {"import-data"}


def test_methods_on_one_file_share_import_and_reference(tmp_path: Path) -> None:
    found = {}
    for method in ("dpo", "ipo"):
        spec, _, arguments = compiled(tmp_path, method)
        found[method] = lineages_of(spec, arguments)
    assert differing(found["dpo"], found["ipo"]) == {"train-preference", "evaluate", "report"}


def test_every_pod_knows_itself_its_run_and_its_bucket(tmp_path: Path) -> None:
    spec, platform, arguments = compiled(tmp_path)
    found = lineages_of(spec, arguments)
    bound = bind_run(with_images(spec, IMAGES), "run-1", found, {"evaluate": "ab12"})
    executors = bound["deploymentSpec"]["executors"]
    for name, task in bound["root"]["dag"]["tasks"].items():
        label = bound["components"][task["componentRef"]["name"]]["executorLabel"]
        if "container" not in executors[label]:
            continue
        told = {each["name"]: each["value"] for each in executors[label]["container"]["env"]}
        assert told["PREFLOW_TASK"] == name and told["PREFLOW_RUN_ID"] == "run-1"
        assert told["PREFLOW_BUCKET"] == PROFILE.bucket and told["PREFLOW_TRACKING_URI"] == PROFILE.mlflow
        assert told.get("PREFLOW_LINEAGE") == found.get(name)
        assert executors[label]["container"]["image"] in IMAGES.values()
        pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]
        secrets = {key["envVar"] for each in pod["secretAsEnv"] for key in each["keyToEnv"]}
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_TOKEN"} <= secrets
        assert pod["fieldPathAsEnv"][0]["name"] == "PREFLOW_KFP_RUN_ID"
    keys = {name: task["inputs"]["parameters"]["key"]["runtimeValue"]["constant"]
            for name, task in bound["root"]["dag"]["tasks"].items() if "parameters" in task["inputs"] and "key" in task["inputs"]["parameters"]}  # fmt: skip
    assert keys["evaluate"] == "again=ab12" and set(keys.values()) == {"again=ab12", ""}


def test_binding_again_replaces_what_another_run_was_told(tmp_path: Path) -> None:
    spec, _, arguments = compiled(tmp_path)
    found = lineages_of(spec, arguments)
    once = bind_run(with_images(spec, IMAGES), "run-1", found, {})
    again = bind_run(once, "run-2", found, {})
    assert json.dumps(again) == json.dumps(once).replace('"run-1"', '"run-2"')


def test_tracking_is_the_last_task_never_reused_and_no_step_of_the_run(tmp_path: Path) -> None:
    spec, _, _ = compiled(tmp_path)
    task = spec["root"]["dag"]["tasks"][TRACK]
    steps = {each.name for each in tasks_of(spec)}
    assert set(task["dependentTasks"]) == steps and TRACK not in steps
    assert not task.get("cachingOptions", {}).get("enableCache")
    assert roles_of(spec) == {"data", "generate", "train"}


@pytest.mark.parametrize("method", ["rso", "npo", "rlhf"])
def test_all_tasks_have_an_identity(method: str, tmp_path: Path) -> None:
    spec, _, arguments = compiled(tmp_path, method)
    found = lineages_of(spec, arguments)
    about = task_identities(with_images(spec, IMAGES), found, {})
    assert set(about) == set(found) and len(set(found.values())) == len(found)
    assert all(each["image"] in IMAGES.values() for each in about.values())
