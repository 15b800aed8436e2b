"""Runs on a cluster in MLflow: from the bucket alone, by the pods, into the cluster's server."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.place import bucket_at
from fake_cluster_runs import TASKS, ClusterRun, Plugin
from fake_runs import STEPS
from preflow.artifacts.bucket import Bucket
from preflow.tracking.recorder import sync

pytestmark = pytest.mark.cluster
URI = os.environ.get("MLFLOW_TRACKING_URI", "")
TRACK = [sys.executable, "-c", "from preflow.steps.track.step import run; run()"]


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    found = bucket_at(f"tracking-{secrets.token_hex(4)}")
    yield found
    for place in ("runs", "steps", "artifacts"):
        for entry in found.entries(place):
            found.delete(entry.name)


@pytest.fixture
def client() -> Iterator[Any]:
    import mlflow

    yield mlflow.MlflowClient(URI)
    mlflow.set_tracking_uri(URI)  # a recorder in this process may have named another


@pytest.fixture
def experiment() -> str:
    return f"tracking-{secrets.token_hex(4)}"


def identity() -> str:
    return time.strftime("%m%d-%H%M%S-") + secrets.token_hex(2)


def cluster_run(home: Path, bucket: Bucket, experiment: str, **about: Any) -> ClusterRun:
    register_as = about.pop("register_as", None)
    tracking = {"uri": URI, "experiment": experiment, "register_as": register_as}
    return ClusterRun(home, identity(), bucket, tracking=tracking, **about)


def pod(run: ClusterRun, command: list[str], task: str = "track", **more: str) -> str:
    """What a process in a pod of the run prints; it must not fail."""
    environment = os.environ | run.environment(URI, task) | more
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def runs_of(client: Any, experiment: str) -> dict[str, Any]:
    """The runs of an experiment by task; the parent is ''."""
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], "", max_results=1000) if found else []
    return {run.data.tags.get("preflow.step", ""): run for run in runs}


def test_the_last_task_writes_what_a_laptop_would(tmp_path: Path, bucket: Bucket, client: Any, experiment: str) -> None:
    import mlflow

    first = cluster_run(tmp_path, bucket, experiment).whole()
    assert "Error" not in pod(first, TRACK)
    originals = runs_of(client, experiment)
    assert set(originals) == {"", *TASKS}
    name = f"house-{secrets.token_hex(4)}"
    run = cluster_run(tmp_path, bucket, experiment, beta=0.3, register_as=name)
    for task in TASKS[:2]:
        run.reused(task, first)
    for task in TASKS[2:]:
        run.executed(task)
    said = pod(run, TRACK)
    assert "Error" not in said and "not recorded" not in said, said
    found = client.get_experiment_by_name(experiment)
    mine = {
        each.data.tags.get("preflow.step", ""): each
        for each in client.search_runs([found.experiment_id], "", max_results=1000)
        if run.id in (each.data.tags.get("preflow.run"), each.data.tags.get("preflow.parent"))
    }
    parent, child = mine[""], mine["train-preference"]
    assert parent.info.status == child.info.status == "FINISHED"
    assert parent.info.run_name == f"dpo-b0.3-{run.id[-4:]}"
    assert parent.data.metrics["eval/win_rate"] == 0.65
    assert parent.data.params["loss.beta"] == "0.3"
    assert child.data.params["cfg.learning_rate"] == "1e-05"
    curve = client.get_metric_history(parent.info.run_id, "train/loss")
    assert [point.step for point in curve] == list(range(1, STEPS + 1))
    assert mine["import-data"].data.tags["step.cached"] == "true"
    assert mine["import-data"].data.tags["step.source_run_id"] == originals["import-data"].info.run_id
    files = json.loads((run.local.folder / "steps" / "import-data.record.json").read_text())["files"]
    digests = {each.dataset.digest for each in parent.inputs.dataset_inputs}
    assert digests == {files["data"]["."][:36], files["heldout"]["."][:36]}, "as on one machine"
    assert f"Folder: `{bucket.uri}/runs/{run.id}`" in parent.data.tags["mlflow.note.content"]
    assert f"http://kfp.test/#/runs/details/{run.id}" in parent.data.tags["mlflow.note.content"]
    assert {each.path for each in client.list_artifacts(parent.info.run_id)} == {"report.html", "samples.json"}
    weights = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path / "down")))
    trained = run.local.output("train-preference", "trained")
    assert (weights / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    before = parent.data.to_dictionary()
    pod(run, TRACK)
    assert client.get_run(parent.info.run_id).data.to_dictionary()["metrics"] == before["metrics"]
    assert len(client.search_runs([found.experiment_id], f"tags.`preflow.run` = '{run.id}'")) == 1


def test_a_failed_step_closes_its_run_and_a_retry_opens_it_again(
    tmp_path: Path, bucket: Bucket, client: Any, experiment: str
) -> None:
    first = cluster_run(tmp_path, bucket, experiment)
    first.executed("import-data")
    run = cluster_run(tmp_path, bucket, experiment)
    run.reused("import-data", first)
    run.failed("reference-logps", {"type": "ModelError", "user": True, "message": "no room", "problems": []})
    command = [sys.executable, "-m", "preflow.tracking.pod", "failed", "reference-logps"]
    own = Path(run.environment(URI, "reference-logps")["PREFLOW_POD_FOLDER"])
    (own / "steps").mkdir(parents=True)
    record = bucket.read(f"runs/{run.id}/steps/reference-logps.record.json")
    assert record
    (own / "steps" / "reference-logps.record.json").write_bytes(record)
    started = time.monotonic()
    pod(run, command, "reference-logps", PREFLOW_RUN_DIR=str(own))
    assert time.monotonic() - started < 60
    found = runs_of(client, experiment)
    assert set(found) == {"", "import-data", "reference-logps"}
    assert (found[""].info.status, found["reference-logps"].info.status) == ("FAILED", "FAILED")
    assert found["import-data"].data.tags["step.cached"] == "true"
    assert "no room" in found[""].data.tags["mlflow.note.content"]
    for task in TASKS[1:]:
        run.executed(task)
    pod(run, TRACK)
    again = runs_of(client, experiment)
    assert again[""].info.run_id == found[""].info.run_id
    assert again["reference-logps"].info.run_id == found["reference-logps"].info.run_id
    assert {each.info.status for each in again.values()} == {"FINISHED"}
    assert "no room" not in again["reference-logps"].data.tags["mlflow.note.content"]


LIVE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from preflow.steps import recording
from preflow.steps.kit import running
recording.LIVE_AFTER_SECONDS = 0.1
folder = Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
journal = SimpleNamespace(path=str(folder / "journal"), uri="minio://mlpipeline/none/journal", metadata={})
with running("train_preference", "{}", "", journal, {}, {}) as step:
    done = {"stopped": 3, "again": 2, "fail": 3}[sys.argv[2]]
    step.restore_metrics([{"name": "train/loss", "step": n, "value": 1 / n, "time": 1.8e9 + n} for n in range(1, done + 1)])
    if sys.argv[2] == "again":
        step.metrics({"train/loss": 0.25}, step=3)
    sys.stdin.readline()
    if sys.argv[2] == "fail":
        raise ValueError("broken")
"""


def live(run: ClusterRun, tmp_path: Path, how: str) -> "subprocess.Popen[str]":
    environment = os.environ | run.environment(URI, "train-preference")
    environment["PREFLOW_POD_FOLDER"] = str(tmp_path / f"pod-{how}" / "run")
    command = [sys.executable, "-c", LIVE, str(tmp_path / "out" / how), how]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(look: Any, seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.5)
    return found


def test_a_long_step_is_seen_while_it_works_and_goes_on_in_the_same_run(
    tmp_path: Path, bucket: Bucket, client: Any, experiment: str
) -> None:
    run = cluster_run(tmp_path, bucket, experiment)
    for task in TASKS[:2]:
        run.executed(task)

    def curve() -> list[int]:
        child = runs_of(client, experiment).get("train-preference")
        points = client.get_metric_history(child.info.run_id, "train/loss") if child else []
        return [point.step for point in points]

    first = live(run, tmp_path, "stopped")
    wait_for(lambda: curve() == [1, 2, 3])
    seen = runs_of(client, experiment)
    assert set(seen) == {"", *TASKS[:3]}
    assert seen["train-preference"].info.status == seen[""].info.status == "RUNNING"
    assert seen["import-data"].info.status == "FINISHED"
    first.terminate()
    assert first.wait(30) == 143
    assert runs_of(client, experiment)["train-preference"].info.status == "RUNNING", "it will be tried again"
    second = live(run, tmp_path, "again")
    wait_for(lambda: sorted(curve()) == [1, 2, 3, 3])  # a point sent twice is one; the third was measured again
    second.communicate("\n", timeout=120)
    assert second.returncode == 0
    after = runs_of(client, experiment)
    assert after["train-preference"].info.run_id == seen["train-preference"].info.run_id
    assert after["train-preference"].info.status == "FINISHED"
    assert after[""].info.status == "RUNNING", "the run goes on"
    third = live(run, tmp_path, "fail")
    third.communicate("\n", timeout=120)
    assert third.returncode == 1
    over = runs_of(client, experiment)
    assert over["train-preference"].info.run_id == seen["train-preference"].info.run_id
    assert (over[""].info.status, over["train-preference"].info.status) == ("FAILED", "FAILED")


def test_runs_of_the_plugin_are_taken_over(tmp_path: Path, bucket: Bucket, client: Any, experiment: str) -> None:
    """The plugin's experiment is another one than the run file's, and it ends its runs itself."""
    run = cluster_run(tmp_path, bucket, experiment).whole()
    plugin = Plugin(client, f"{experiment}-of-kfp", run.id)
    nested = {task: plugin.begin(task) for task in TASKS}
    for task in TASKS:
        plugin.end(nested[task])
    pod(run, TRACK)
    assert client.get_experiment_by_name(experiment) is None
    found = runs_of(client, f"{experiment}-of-kfp")
    assert {task: each.info.run_id for task, each in found.items()} == {"": plugin.root, **nested}
    assert found[""].info.status == "RUNNING", "the backend ends it"
    assert found[""].info.run_name == f"dpo-b0.1-{run.id[-4:]}"
    assert found["evaluate"].data.metrics["eval/win_rate"] == 0.55
    assert found["train-preference"].data.params["settings"] == '"{}"'
    assert found["train-preference"].data.params["cfg.learning_rate"] == "1e-05"
    assert found[""].data.params["loss.beta"] == "0.1"


def test_pods_that_start_together_agree_on_one_run(
    tmp_path: Path, bucket: Bucket, client: Any, experiment: str
) -> None:
    run = cluster_run(tmp_path, bucket, experiment).whole()
    pods = []
    for number in range(3):
        environment = os.environ | run.environment(URI, f"track-{number}")
        pods.append(subprocess.Popen(TRACK, env=environment, stdout=subprocess.PIPE, text=True))
    said = [each.communicate(timeout=300)[0] for each in pods]
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], "", max_results=1000)
    assert sorted(each.data.tags.get("preflow.step", "") for each in runs) == sorted(["", *TASKS]), said
    parent = next(each for each in runs if "preflow.step" not in each.data.tags)
    assert {each.data.tags.get("mlflow.parentRunId", parent.info.run_id) for each in runs} == {parent.info.run_id}
    assert {each.info.status for each in runs} == {"FINISHED"}


def test_a_folder_of_a_cluster_run_is_written_from_where_it_was_submitted(
    tmp_path: Path, bucket: Bucket, client: Any, experiment: str
) -> None:
    """Nobody wrote it in the cluster; a big model stays where it is."""
    from preflow.tracking.from_bucket import fetch_outputs, fetch_run
    from preflow_pipelines.cli.compare import mlflow_link

    run = cluster_run(tmp_path / "pods", bucket, experiment).whole()
    home = tmp_path / "home"
    folder = home / "runs" / run.id
    fetch_run(bucket, run.id, folder)
    fetch_outputs(bucket, folder)
    assert sync(home) == []
    assert runs_of(client, experiment)[""].info.status == "RUNNING"
    (folder / "end.json").write_text(json.dumps({"state": "FAILED", "error": None, "ended": time.time()}))
    assert sync(home) == []
    parent = runs_of(client, experiment)[""]
    assert parent.info.status == "FAILED"
    assert "not copied into MLflow" in parent.data.tags["mlflow.note.content"]
    (model,) = client.search_logged_models([parent.info.experiment_id])
    assert model.tags["preflow.uri"] == run.uri(str(run.local.output("train-preference", "trained")))
    os.environ["PREFLOW_HOME"] = str(home)
    try:
        link = mlflow_link([folder])
    finally:
        del os.environ["PREFLOW_HOME"]
    assert link["run_ids"] == [parent.info.run_id]
    assert link["url"].startswith(f"{URI}/#/experiments/{parent.info.experiment_id}/runs")
    (folder / "end.json").write_text(json.dumps({"state": "SUCCEEDED", "error": None, "ended": time.time()}))
    assert sync(home) == []
    assert runs_of(client, experiment)[""].info.status == "FINISHED", "a retry that succeeded"


def test_no_server_and_a_server_that_is_down(tmp_path: Path, bucket: Bucket, experiment: str) -> None:
    run = cluster_run(tmp_path, bucket, experiment).whole()
    assert "no server is named" in pod(run, TRACK, PREFLOW_TRACKING_URI="")
    started = time.monotonic()
    said = pod(run, TRACK, PREFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "given up" in said and "http://127.0.0.1:9" in said
    assert time.monotonic() - started < 60
