"""A run folder becomes a parent, its children, curves, a model: once, however often it is projected."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_runs import STEPS, TASKS, TIME, FakeRun
from preflow.errors import SettingsError
from preflow.tracking.projection import Projection
from preflow.tracking.recorder import follow, is_synced, recorded_at, sync
from preflow.tracking.runs import read_run
from preflow.tracking.server import LEAN, answers, free_port
from preflow.tracking.store import local_uri, make_local_store, open_store

RECORDER = [sys.executable, "-m", "preflow.tracking.recorder"]


@pytest.fixture(scope="module")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, without an experiment of ours: making one takes seconds, copying it none."""
    home = tmp_path_factory.mktemp("store")
    make_local_store(home)
    return home / "mlflow.db"


@pytest.fixture
def home(fresh_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose store is there already; the tracking URI that mlflow keeps globally is put back."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    shutil.copyfile(fresh_store, tmp_path / "mlflow.db")
    yield tmp_path
    mlflow.set_tracking_uri("")


def client(home: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(local_uri(home))


def runs(home: Path, kind: str = "pipeline", experiment: str = "preflow") -> list[Any]:
    where = client(home)
    found = where.get_experiment_by_name(experiment)
    return list(where.search_runs([found.experiment_id], f"tags.`run.kind` = '{kind}'", max_results=1000))


def everything(home: Path, experiment: str = "preflow") -> dict[str, Any]:
    """All that MLflow holds, in a form that can be compared."""
    where, found = client(home), {}
    for run in [*runs(home, "pipeline", experiment), *runs(home, "step", experiment)]:
        name = run.info.run_name
        assert name not in found, f"{name} is there twice"
        found[name] = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "parameters": run.data.params,
            "tags": sorted(run.data.tags),
            "metrics": {
                key: [(p.step, p.timestamp, p.value) for p in where.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            },
            "datasets": sorted((d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs),
            "models": len(run.outputs.model_outputs),
            "artifacts": sorted(file.path for file in where.list_artifacts(run.info.run_id)),
        }
    return found


def test_a_finished_run(home: Path) -> None:
    run = FakeRun(home, "1124-1000-ab12", beta=0.1).whole()
    run.about["tracking"]["register_as"] = "house-model"
    (run.folder / "run.json").write_text(json.dumps(run.about))
    assert follow(run.folder, home)
    parent = everything(home)["dpo-b0.1-ab12"]
    assert parent["status"] == "FINISHED"
    assert parent["parameters"]["loss.beta"] == "0.1"
    assert parent["parameters"]["data.pairs"] == "prefs.jsonl"
    assert "data.prompts" not in parent["parameters"]
    assert [value for _, _, value in parent["metrics"]["eval/win_rate"]] == [0.55]
    assert [step for step, _, _ in parent["metrics"]["train/loss"]] == list(range(1, STEPS + 1))
    assert parent["artifacts"] == ["report.html", "samples.json"]
    assert [name for name, _ in parent["datasets"]] == ["import-data data", "import-data heldout"]
    assert all(len(digest) == 36 for _, digest in parent["datasets"])
    assert parent["models"] == 1
    child = everything(home)["train-preference · dpo-b0.1-ab12"]
    assert child["parameters"]["cfg.learning_rate"] == "1e-05"
    assert child["models"] == 1
    assert "journal.json" in child["artifacts"]
    assert len(runs(home, "step")) == len(TASKS)
    assert is_synced(run.folder, home)


def test_samples_table_and_model_are_what_mlflow_reads(home: Path) -> None:
    import mlflow

    run = FakeRun(home, "1124-1000-ab12")
    run.about["tracking"]["register_as"] = "house-model"
    run.whole()
    follow(run.folder, home)
    where = recorded_at(run.folder, home)
    assert where
    table = client(home).load_table("1", "samples.json", run_ids=[where["run_id"]])
    assert list(table.columns) == ["prompt", "policy", "baseline", "policy score", "baseline score"]
    assert table["policy"][0] == "the policy says 0 at 0.1"
    assert table["baseline"][0] == "the baseline says 0 at 0.1"
    assert list(table["prompt"]) == [f"Question {number}?" for number in range(4)]
    weights = Path(mlflow.artifacts.download_artifacts("models:/house-model/1")) / "model.safetensors"
    trained = run.output("train-preference", "trained") / "model.safetensors"
    assert weights.read_bytes() == trained.read_bytes()
    assert trained.stat().st_nlink == 2, "the model was copied, expected a hard link"
    model = client(home).get_logged_model(where["model_id"])
    assert model.name == "dpo-b0_1-ab12"
    assert {metric.key for metric in model.metrics} >= {"eval/win_rate", "eval/kl_to_reference"}


def test_cached_steps_are_linked_to_their_originals(home: Path) -> None:
    first = FakeRun(home, "1124-1000-ab12").whole()
    second = FakeRun(home, "1124-1100-cd34", started=TIME + 500).whole(reuse=first, reused=tuple(TASKS)[:3])
    assert sync(home) == []
    assert [path.name for path in (first.folder, second.folder) if not is_synced(path, home)] == []
    mine = {
        run.data.tags["preflow.step"]: run
        for run in runs(home, "step")
        if run.data.tags["preflow.parent"] == second.folder.name
    }
    original = recorded_at(first.folder, home)
    assert original
    cached = mine["train-preference"]
    assert cached.info.run_name.endswith("(cached)")
    assert cached.data.tags["step.cached"] == "true"
    assert cached.data.tags["step.source_run_id"] == original["children"]["train-preference"]
    assert original["children"]["train-preference"] in cached.data.tags["mlflow.note.content"]
    assert mine["evaluate"].data.tags["step.cached"] == "false"
    assert mine["evaluate"].data.tags.get("step.source_run_id") is None
    everywhere = everything(home)
    assert everywhere["dpo-b0.1-cd34"]["metrics"]["train/loss"] == everywhere["dpo-b0.1-ab12"]["metrics"]["train/loss"]
    assert everywhere["dpo-b0.1-cd34"]["models"] == 1
    where = client(home)
    assert len(where.search_logged_models(["1"])) == 1, "a reused training is one model"


def test_reuse_of_a_run_that_was_deleted(home: Path) -> None:
    first = FakeRun(home, "1124-1000-ab12").whole()
    FakeRun(home, "1124-1100-cd34", started=TIME + 500).whole(reuse=first, reused=tuple(TASKS))
    shutil.rmtree(first.folder)
    assert sync(home) == []
    assert everything(home)["dpo-b0.1-cd34"]["status"] == "FINISHED"


def test_projecting_again_changes_nothing(home: Path) -> None:
    run = FakeRun(home, "1124-1000-ab12").whole()
    follow(run.folder, home)
    before = everything(home)
    (run.folder / "synced.json").unlink()
    follow(run.folder, home)
    assert everything(home) == before


def test_a_store_that_was_deleted_is_filled_again(home: Path, fresh_store: Path) -> None:
    run = FakeRun(home, "1124-1000-ab12").whole()
    follow(run.folder, home)
    before = everything(home)
    (home / "mlflow.db").unlink()
    assert not is_synced(run.folder, home)
    assert recorded_at(run.folder, home) is None
    shutil.rmtree(home / "mlartifacts")
    for leftover in home.glob("mlflow.db-*"):
        leftover.unlink()
    assert sync(home) == []
    assert is_synced(run.folder, home)
    assert sorted(before) == sorted(["dpo-b0.1-ab12", *(f"{task} · dpo-b0.1-ab12" for task in TASKS)])


@pytest.mark.parametrize(("state", "status"), [("FAILED", "FAILED"), ("CANCELLED", "KILLED")])
def test_failed_and_cancelled_runs(home: Path, state: str, status: str) -> None:
    run = FakeRun(home, "1124-1000-ab12").begin()
    run.executed("import-data")
    error = {"type": "DataError", "user": True, "message": "prefs.jsonl row 3: empty", "problems": []}
    run.failed("reference-logps", error if state == "FAILED" else error | {"type": "Stopped"})
    run.end(state, error)
    follow(run.folder, home)
    found = everything(home)
    assert found["dpo-b0.1-ab12"]["status"] == status
    assert found["reference-logps · dpo-b0.1-ab12"]["status"] == status
    assert found["import-data · dpo-b0.1-ab12"]["status"] == "FINISHED"
    assert "reference-logps.log" in found["reference-logps · dpo-b0.1-ab12"]["artifacts"]
    assert "row 3" in runs(home)[0].data.tags["mlflow.note.content"]


def test_a_run_whose_launcher_was_killed(home: Path) -> None:
    run = FakeRun(home, "1124-1000-ab12").begin()
    run.executed("import-data")
    gone = subprocess.Popen(["true"])
    gone.wait()
    run.running("train-preference", points=7, pid=gone.pid)
    run.die()
    assert sync(home) == []
    found = everything(home)
    assert found["dpo-b0.1-ab12"]["status"] == "KILLED"
    assert found["train-preference · dpo-b0.1-ab12"]["status"] == "KILLED"
    assert len(found["dpo-b0.1-ab12"]["metrics"]["train/loss"]) == 7
    assert is_synced(run.folder, home)


def test_live_while_the_run_goes(home: Path) -> None:
    """Curves are visible while the step trains; a torn last line waits for its end."""
    run = FakeRun(home, "1124-1000-ab12").begin()
    run.executed("import-data")
    run.running("train-preference", points=5)
    with (run.folder / "steps" / "train-preference.metrics.jsonl").open("a") as file:
        file.write('{"name": "train/loss", "step": 6, "va')
    assert sync(home) == []
    parent = everything(home)["dpo-b0.1-ab12"]
    assert parent["status"] == "RUNNING"
    assert [step for step, _, _ in parent["metrics"]["train/loss"]] == [1, 2, 3, 4, 5]
    assert recorded_at(run.folder, home)
    assert not is_synced(run.folder, home)
    run.clock -= 10
    for task in ("train-preference", "evaluate", "report"):
        run.executed(task)
    run.end("SUCCEEDED")
    assert sync(home) == []
    parent = everything(home)["dpo-b0.1-ab12"]
    assert parent["status"] == "FINISHED"
    assert [step for step, _, _ in parent["metrics"]["train/loss"]] == list(range(1, STEPS + 1))


def test_a_file_that_cannot_be_read_is_no_reason_to_stop(home: Path) -> None:
    run = FakeRun(home, "1124-1000-ab12").whole()
    (run.output("evaluate", "samples")).write_bytes(b"no parquet")
    follow(run.folder, home)
    synced = json.loads((run.folder / "synced.json").read_text())
    assert any("samples" in problem for problem in synced["problems"])
    assert everything(home)["dpo-b0.1-ab12"]["status"] == "FINISHED"


def test_a_server_that_is_down_is_said_in_seconds(home: Path) -> None:
    run = FakeRun(
        home, "1124-1000-ab12", tracking={"uri": "http://127.0.0.1:9", "experiment": "preflow", "register_as": None}
    ).whole()
    started = time.monotonic()
    problems = sync(home)
    assert time.monotonic() - started < 10
    assert len(problems) == 1
    assert "http://127.0.0.1:9" in problems[0]
    assert not is_synced(run.folder, home)


def test_an_experiment_that_was_deleted(home: Path) -> None:
    run = FakeRun(home, "1124-1000-ab12").whole()
    follow(run.folder, home)
    client(home).delete_experiment("1")
    (run.folder / "synced.json").unlink()
    assert "experiments restore" in sync(home)[0]
    with pytest.raises(SettingsError, match="deleted"):
        open_store(home, run.about["tracking"])


class Killed(BaseException):
    """The recorder dies here."""


class MortalClient:
    """A client whose process dies at the n-th change that it makes: before it, or just after."""

    def __init__(self, inner: Any, number: int, after: bool):
        self._inner, self._left, self._after = inner, number, after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name.startswith(("search", "get")):
            return call

        def change(*arguments: Any, **keywords: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            answer = call(*arguments, **keywords)
            if self._left == 0:
                raise Killed
            return answer

        return change


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_dying_at_any_change_leaves_nothing_twice_or_missing(home: Path, after: bool) -> None:
    """For every change that a projection makes: die there, project again, compare with an undisturbed projection."""
    run = FakeRun(home, "1124-1000-ab12").whole()
    expected, number = None, 0
    while True:
        tracking = {"experiment": f"death-{number}"}
        store = open_store(home, tracking)
        view = read_run(run.folder)
        assert view
        died = False
        if number:
            try:
                Projection(replace(store, client=MortalClient(store.client, number, after))).complete(view)
            except Killed:
                died = True
        Projection(store).complete(view)
        found = everything(home, tracking["experiment"])
        expected = expected or found
        assert found == expected, f"died at change {number}"
        assert len(store.client.search_logged_models([store.experiment_id])) == 1
        if number and not died:
            break
        number += 1
    assert number > 20


@pytest.mark.slow
def test_a_server_by_its_uri(tmp_path: Path) -> None:
    """Everything through HTTP, artifacts included."""
    import mlflow

    port = free_port(5270)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/far"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | LEAN, start_new_session=True)
    try:
        uri = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not answers(uri):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        tracking = {"uri": uri, "experiment": "preflow", "register_as": "house-model"}
        run = FakeRun(tmp_path, "1124-1000-ab12", tracking=tracking).whole()
        assert sync(tmp_path) == []
        where = recorded_at(run.folder, tmp_path)
        assert where
        assert where["tracking_uri"] == uri
        assert where["model_version"] == "1"
        assert json.loads((run.folder / "synced.json").read_text())["problems"] == []
        parent = mlflow.MlflowClient(uri).get_run(where["run_id"])
        assert parent.data.metrics["eval/win_rate"] == 0.55
        weights = Path(mlflow.artifacts.download_artifacts("models:/house-model/1")) / "model.safetensors"
        assert weights.read_bytes() == (run.output("train-preference", "trained") / "model.safetensors").read_bytes()
        assert not (tmp_path / "mlflow.db").exists()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        mlflow.set_tracking_uri("")


@pytest.mark.slow
def test_killed_five_times_in_mid_write_nothing_is_twice_or_missing(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The recorder is killed while MLflow changes; what the last one leaves equals an undisturbed projection."""
    other = tmp_path_factory.mktemp("undisturbed")
    shutil.copyfile(home / "mlflow.db", other / "mlflow.db")
    expected_run = FakeRun(other, "1124-1000-ab12").whole()
    follow(expected_run.folder, other)
    run = FakeRun(home, "1124-1000-ab12").whole()
    database, kills = home / "mlflow.db-wal", 0
    for delay in (0.0, 0.05, 0.12, 0.25, 0.45):
        before = database.stat().st_size if database.exists() else 0
        process = subprocess.Popen(
            [*RECORDER, str(run.folder), "--follow"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and (not database.exists() or database.stat().st_size == before):
            time.sleep(0.002)
        time.sleep(delay)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 3
    subprocess.run([*RECORDER, str(run.folder), "--follow"], check=True)
    found, expected = everything(home), everything(other)
    for name in expected:
        for fact in expected[name]:
            assert found[name][fact] == expected[name][fact], f"{name}: {fact}"
    assert found.keys() == expected.keys()
    assert len(client(home).search_logged_models(["1"])) == 1


@pytest.mark.slow
def test_two_first_runs_at_once_in_a_fresh_home(tmp_path: Path) -> None:
    first, second = FakeRun(tmp_path, "1124-1000-ab12").whole(), FakeRun(tmp_path, "1124-1000-cd34", beta=0.5).whole()
    processes = [subprocess.Popen([*RECORDER, str(run.folder), "--follow"]) for run in (first, second)]
    assert [process.wait() for process in processes] == [0, 0]
    assert {run.info.run_name: run.info.status for run in runs(tmp_path)} == {
        "dpo-b0.1-ab12": "FINISHED",
        "dpo-b0.5-cd34": "FINISHED",
    }
    assert not list(tmp_path.glob(".mlflow.db.making*"))
