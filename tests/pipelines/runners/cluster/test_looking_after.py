"""What is made of what the API and the pods say of a run: one that is gone, cancelled, or failed before any step did."""

import json
from pathlib import Path
from typing import Any

import pytest

import dex
from fake_api import PROFILE, FakeApi, FakePods, run_state
from fake_cluster_runs import ClusterRun
from http_answers import Answer, Request, serving
from preflow.errors import ClusterError
from preflow_pipelines.profile import DexAuth
from preflow_pipelines.runners.cluster import syncing, watching
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.syncing import forget_end, say_cancelled, sync_run
from preflow_pipelines.runners.explain import explain
from preflow_pipelines.runners.folder import RunFolder

LAUNCHER = 'I1123 10:00:00.000000  1 launcher.go:1] done\ntime=now msg="sub-process exited"\nError: exit status 1\n'


@pytest.fixture
def run(connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run whose pods imported the data; its folder, as submit leaves it."""
    monkeypatch.setattr(syncing, "SETTLE_SECONDS", 0.0)
    submitted = ClusterRun(tmp_path / "elsewhere", "1126-100000-aaaa", connection.bucket)
    submitted.executed("import-data")
    folder = RunFolder(tmp_path / "runs" / submitted.id)
    folder.path.mkdir(parents=True)
    for name in ("cluster.json", "run.json", "pipeline.json"):
        folder.write(name, connection.bucket.read_json(f"runs/{submitted.id}/{name}"))
    return folder


def told(connection: Connection, *states: Any, pods: dict[str, tuple[int, str]] | None = None) -> Connection:
    connection.__dict__ |= {"api": FakeApi(*states), "pods": FakePods(pods or {})}
    return connection


def error_of(run: RunFolder) -> dict[str, Any]:
    end = run.read("end.json")
    assert end is not None
    return dict(end["error"])


def test_a_run_that_was_deleted_is_over(connection: Connection, run: RunFolder) -> None:
    told(connection).api.error = ClusterError("run kfp-1 not found (HTTP 404). Was it deleted?", 404)  # type: ignore[attr-defined]
    assert sync_run(run, connection).over == "CANCELLED"
    assert "was deleted" in error_of(run)["message"]


def test_of_a_run_that_goes_on_it_is_said_where_it_is(connection: Connection, run: RunFolder, tmp_path: Path) -> None:
    sync_run(run, told(connection, run_state(train_preference="RUNNING")))
    run.write("steps/train-preference.progress.json", {"done": 3, "total": 8, "unit": "steps"})
    said = {task: (state, reason) for task, state, reason in explain(run, tmp_path)}
    assert said["train-preference"] == ("RUNNING", "3 of 8 steps") and said["evaluate"] == ("WAITING", "has not begun")


def test_a_run_that_was_cancelled_is_not_called_failed(connection: Connection, run: RunFolder, tmp_path: Path) -> None:
    told(connection, run_state("FAILED", import_data="SUCCEEDED", train_preference="FAILED"))
    say_cancelled(run, connection.bucket)
    assert sync_run(run, connection).over == "CANCELLED"
    assert run.state == "CANCELLED" and error_of(run)["message"] == "cancelled"
    assert ("train-preference", "STOPPED", "cancelled") in explain(run, tmp_path)
    forget_end(run, connection.bucket)
    assert sync_run(run, told(connection, run_state("FAILED", train_preference="FAILED"))).over == "FAILED"


def test_a_step_whose_end_the_api_tells_late_has_its_reason(connection: Connection, run: RunFolder) -> None:
    states = [run_state("FAILED", train_preference=state) for state in ("RUNNING", "RUNNING", "FAILED")]
    pods = {"flow.root.train-preference": (137, f"epoch 3\n\nKilled\n{LAUNCHER}")}
    sync_run(run, told(connection, *states, pods=pods))
    assert error_of(run)["message"].startswith("train-preference: exit code 137; epoch 3 | Killed. Its log:")


@pytest.mark.parametrize(
    ("states", "pods", "said"),
    [
        ({"root_driver": "FAILED", "root": "FAILED"}, {"flow.root-driver": (1, "no such bucket")}, "root-driver: exit code 1; no such bucket"),
        ({"train_preference_driver": "FAILED"}, {"flow.root.train-preference-driver(0)": (1, "")}, "train-preference-driver: exit code 1"),
        ({"train_preference": "FAILED"}, {"flow.root.train-preference-driver": (2, "no cache")}, "train-preference: exit code 2; no cache"),
        ({"import_data": "SUCCEEDED"}, {}, "Kubeflow Pipelines says that it failed, and not where"),
    ],
)  # fmt: skip
def test_a_run_that_failed_before_its_step_says_where(
    connection: Connection, run: RunFolder, states: dict[str, str], pods: dict[str, Any], said: str
) -> None:
    sync_run(run, told(connection, run_state("FAILED", **states), pods=pods))
    assert error_of(run)["message"].startswith(said)


class Onlooker:
    """Keeps what is said to it."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def message(self, text: str) -> None:
        self.heard.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *said: None


def test_who_looks_on_for_hours_signs_in_again(
    connection: Connection, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy shows its page to a session that expired."""
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    monkeypatch.setenv("KFP_USER", dex.USER)
    monkeypatch.setenv("KFP_PASSWORD", dex.PASSWORD)

    def api(request: Request) -> Answer:
        over = proxy.sessions > 1
        proxy.expire()
        return Answer(body=json.dumps({"run_id": "kfp-1", "state": "SUCCEEDED" if over else "RUNNING"}))

    proxy, onlooker = dex.Dex(api), Onlooker()
    with serving(proxy) as server:
        profile = PROFILE.model_copy(update={"api": server.url, "auth": DexAuth()})
        result = watching.Watch(run, Connection("lab", profile), onlooker).until_over()
    assert result.state == "SUCCEEDED" and proxy.sessions == 4
    assert ["The run goes on" in said for said in onlooker.heard] == [True, False]
