"""Whole workflows as pods: the results of a local run, and an honest cache."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.build_images import HERE, build_images
from cluster.lab import Lab, files_of
from cluster.line import Line
from journey_kit import executed
from preflow.artifacts.digests import file_sha256
from preflow.methods.catalogue import catalogue
from preflow_pipelines.compile import write_pipeline
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.profile import save_profile
from preflow_pipelines.runners.cluster.access import kfp_client
from starters import starter_plan

pytestmark = pytest.mark.cluster
AFTER_TRAINING = {"train-preference", "evaluate", "report"}


@pytest.fixture(scope="module")
def first(lab: Lab) -> dict[str, dict[str, Any]]:
    """dpo, and rso as soon as what both import was imported: two importers at once may be two artifacts."""
    lab.desk.run_file("dpo.yaml")
    lab.desk.run_file("rso.yaml", method="rso")
    dpo = lab.start("dpo.yaml")
    lab.until("imported data", lambda: list(lab.desk.home.glob("runs/*/steps/import-data.record.json")))
    rso = lab.start("rso.yaml")
    return {"dpo": lab.finish(dpo), "rso": lab.finish(rso)}


@pytest.fixture(scope="module")
def again(lab: Lab, first: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """dpo, submitted once more."""
    return lab.submit("dpo.yaml")


@pytest.mark.parametrize("method", ["dpo", "rso"])
def test_pods_make_what_a_local_run_makes(lab: Lab, first: dict[str, dict[str, Any]], method: str) -> None:
    run = first[method]
    assert run["state"] == "SUCCEEDED" and executed(run) == {step["name"] for step in run["steps"]}
    local = lab.desk.run(f"{method}.yaml")
    assert [step["name"] for step in local["steps"]] == [step["name"] for step in run["steps"]]
    assert lab.files(run["run"]) == files_of(lab.folder(local["run"]))
    same = {name for name, value in run["metrics"].items() if value != pytest.approx(local["metrics"][name], abs=1e-9)}
    assert same <= {"train/examples_per_second"}, same


def test_what_the_bucket_holds_is_what_the_records_say(lab: Lab, first: dict[str, dict[str, Any]]) -> None:
    run = first["dpo"]["run"]
    lab.desk.call("pull", run, "--output", "all")
    record = lab.read(run, "steps/import-data.record.json")
    assert record["uris"]["data"].startswith(f"{lab.profile.bucket}/artifacts/preflow/")
    assert (lab.folder(run) / "outputs" / "train-preference" / "trained" / "config.json").is_file()
    (lab.folder(run) / "outputs" / "import-data" / "data").write_bytes(b"damaged here")
    weights = lab.folder(run) / "outputs" / "train-preference" / "trained" / "model.safetensors"
    before, digest = weights.read_bytes(), record["files"]["data"]["."]
    weights.write_bytes(before[:-1])
    for output in ("import-data.data", "train-preference.trained"):
        lab.desk.call("pull", run, "--output", output)
    assert file_sha256(lab.folder(run) / "outputs" / "import-data" / "data") == digest
    assert weights.read_bytes() == before
    assert lab.desk.call("explain", run).count("executed") == 5


def test_again_everything_is_reused_and_a_change_reaches_what_depends_on_it(
    lab: Lab, first: dict[str, dict[str, Any]], again: dict[str, Any]
) -> None:
    assert executed(again) == set() and again["metrics"] == first["dpo"]["metrics"]
    assert "reused from " + first["dpo"]["run"] in lab.desk.call("explain", again["run"])
    beta = lab.start("dpo.yaml", "--set", "loss.beta=0.3")
    lab.desk.run_file("ipo.yaml", method="ipo")
    other = lab.start("ipo.yaml")
    assert executed(lab.finish(beta)) == AFTER_TRAINING
    assert executed(lab.finish(other)) == AFTER_TRAINING, (
        "two methods on one file share its import and reference log-probs"
    )


def test_one_step_again_over_a_line_that_breaks(lab: Lab, first: dict[str, dict[str, Any]]) -> None:
    line = Line(lab.profile.api)
    save_profile(lab.desk.home, "lab", lab.profile.model_copy(update={"api": line.url}))
    try:
        known = lab.runs()
        process = lab.desk.start("rerun", first["dpo"]["run"], "--step", "evaluate", "--wait", "--json")
        lab.until("the run", lambda: lab.runs() - known)
        line.cut()
        time.sleep(6)
        line.mend()
        output, errors = process.communicate(timeout=600)
    finally:
        save_profile(lab.desk.home, "lab", lab.profile)
    assert process.returncode == 0 and "The run goes on" in errors and "the cluster answers again" in errors, errors
    run = json.loads(output)
    assert executed(run) == {"evaluate", "report"}
    assert "asked to run again" in lab.desk.call("explain", run["run"])
    assert lab.files(run["run"])["evaluate"] == lab.files(first["dpo"]["run"])["evaluate"]


def test_images_with_other_code_reuse_nothing(lab: Lab, first: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """One line of one module is another: the images are others, and so is every result."""
    other = tmp_path / "code"
    ignored = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".preflow", ".*_cache", ".hypothesis")
    shutil.copytree(HERE, other, ignore=ignored)
    place = other / "components" / "preflow" / "losses" / "dpo.py"
    place.write_text(place.read_text() + "\nCHANGED = True\n")
    refused = lab.desk.start("submit", "dpo.yaml")
    lab.desk.code = other
    try:
        process = lab.desk.start("submit", "dpo.yaml")
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2 and "hold other code" in errors and "Traceback" not in errors
        build_images(tmp_path / "images.lock", other)
        save_profile(lab.desk.home, "lab", lab.profile.model_copy(update={"images": str(tmp_path / "images.lock")}))
        run = lab.submit("dpo.yaml")
        assert executed(run) == {step["name"] for step in run["steps"]}
        assert "image " in lab.desk.call("explain", run["run"])
    finally:
        refused.communicate(timeout=120)
        lab.desk.code = HERE
        save_profile(lab.desk.home, "lab", lab.profile)


def test_mlflow_shows_the_runs_as_on_a_laptop(
    lab: Lab, first: dict[str, dict[str, Any]], again: dict[str, Any]
) -> None:
    """Parent, children, links of reused steps, metrics and model; `compare` prints them, and where they are."""
    found = json.loads(lab.desk.call("compare", first["dpo"]["run"], again["run"], "--json"))
    assert set(found["metrics"]["eval/win_rate"].values()) == {first["dpo"]["metrics"]["eval/win_rate"]}
    assert found["mlflow"]["url"].startswith(lab.profile.mlflow_here)
    script = (
        "import json, sys, mlflow\n"
        "c = mlflow.MlflowClient(); out = []\n"
        "for run_id in sys.argv[1:]:\n"
        "    run = c.get_run(run_id); e = [run.info.experiment_id]\n"
        "    kids = c.search_runs(e, f\"tags.`mlflow.parentRunId` = '{run_id}'\")\n"
        "    out.append({'status': run.info.status, 'metrics': run.data.metrics, 'params': run.data.params,\n"
        "     'models': len(run.outputs.model_outputs if run.outputs else []),\n"
        "     'children': {k.data.tags.get('preflow.step'): [k.info.status, 'step.source_run_id' in k.data.tags] for k in kids}})\n"
        "print(json.dumps(out))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, *found["mlflow"]["run_ids"]], capture_output=True, text=True, check=True
    ).stdout
    original, reused = json.loads(output.splitlines()[-1])
    steps = {step["name"] for step in again["steps"]}
    for run, is_reused in ((original, False), (reused, True)):
        children = {name: value for name, value in run["children"].items() if name in steps}
        assert children == {name: ["FINISHED", is_reused] for name in steps}
        assert run["status"] == "FINISHED" and run["models"] == 1 and run["params"]["method"] == "dpo"
        assert run["metrics"]["eval/win_rate"] == pytest.approx(first["dpo"]["metrics"]["eval/win_rate"])
        assert "train/loss" in run["metrics"]


def test_the_backend_takes_every_method(lab: Lab, tmp_path: Path) -> None:
    client = kfp_client(lab.profile)
    for method in catalogue():
        folder = tmp_path / method
        folder.mkdir()
        write_pipeline(starter_plan(method, folder), Hardware(), folder / "pipeline.yaml")
        name = f"preflow-{method}-{lab.mark}"
        made = client.pipeline_uploads.upload_pipeline(str(folder / "pipeline.yaml"), name=name)
        spec = yaml.safe_load((folder / "pipeline.yaml").read_text())
        assert spec["pipelineInfo"]["name"] == "preflow"
        versions = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
        for version in versions or []:
            client.delete_pipeline_version(made.pipeline_id, version.pipeline_version_id)
        client.delete_pipeline(made.pipeline_id)


def test_what_lies_elsewhere_is_fetched_on_the_cluster(lab: Lab, first: dict[str, dict[str, Any]]) -> None:
    """A model and pairs in the store: not one byte of their rows and weights goes through this machine."""
    lab.bucket.upload(lab.desk.folder / "model", "elsewhere/model")
    lab.bucket.upload(lab.desk.folder / "pairs.jsonl", "elsewhere/pairs.jsonl")
    place = lab.bucket.uri_of("elsewhere")
    lab.desk.run_file("far.yaml", model=f"{place}/model", data={"pairs": f"{place}/pairs.jsonl"})
    run = lab.submit("far.yaml")
    fetched = {step["name"] for step in run["steps"] if step["name"].startswith("fetch-input")}
    assert len(fetched) == 2 and executed(run) >= fetched
    weights = lab.files(run["run"])["train-preference"]["trained"]["model.safetensors"]
    assert weights == lab.files(first["dpo"]["run"])["train-preference"]["trained"]["model.safetensors"]
    assert not list((lab.desk.home / "downloads").rglob("*.safetensors")) and not list(
        (lab.desk.home / "downloads").rglob("*.jsonl")
    )
    assert executed(lab.submit("far.yaml")) == set()
