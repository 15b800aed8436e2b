"""What can be said about runs without mlflow: their views, names, settings that differ, metrics."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fake_runs import STEPS, TASKS, FakeRun
from preflow.tracking.comparison import compare
from preflow.tracking.labels import curve_names, flatten, headline, model_name, run_name
from preflow.tracking.runs import RunReader, RunView, read_run, run_folders
from preflow.tracking.view import KEY, charts_url, decode, encode, view_state


def view_of(run: FakeRun) -> RunView:
    view = read_run(run.folder)
    assert view
    return view


def test_names_tell_runs_apart() -> None:
    assert (
        run_name({"id": "1124-101500-ab12", "method": "rso", "run_file": {"loss": {"beta": 0.05}}}) == "rso-b0.05-ab12"
    )
    assert run_name({"id": "1124-101500-ab12", "method": "sft", "run_file": {"loss": None}}) == "sft-ab12"
    assert model_name("dpo-b0.1/a:b%c\"d'e") == "dpo-b0_1_a_b_c_d_e"


def test_settings_become_parameters() -> None:
    settings = {"loss": {"beta": 0.1, "name": "dpo"}, "files": ["a", "b"], "none": None, "empty": [], "flag": True}
    assert flatten(settings) == {"loss.beta": "0.1", "loss.name": "dpo", "files": "a, b", "flag": "true"}
    assert len(flatten({"long": "x" * 9000})["long"]) == 500
    assert flatten({"terms": [{"loss": "dpo"}]}) == {"terms": '[{"loss": "dpo"}]'}


def test_what_a_run_shows(tmp_path: Path) -> None:
    view = view_of(FakeRun(tmp_path, "1124-1000-ab12").whole())
    assert view.state == "SUCCEEDED"
    assert [task.task for task in view.tasks] == list(TASKS)
    assert view.policy_task
    assert curve_names(view.policy_task)[:3] == ["train/loss", "train/reward_accuracy", "train/reward_margin"]
    assert headline(view)["eval/win_rate"] == 0.55
    assert not any(name.startswith("train/") for name in headline(view))


def test_a_run_that_grows_is_read_in_pieces(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "1124-1000-ab12").begin()
    reader = RunReader(run.folder)
    first = reader.read()
    assert first
    assert (first.state, first.tasks) == ("RUNNING", [])
    run.running("train-preference", points=3)
    metrics = run.folder / "steps" / "train-preference.metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole[:-20])
    second = reader.read()
    assert second
    assert len(second.tasks[0].points) == 14, "the torn line waits"
    metrics.write_text(whole)
    third = reader.read()
    assert third
    assert len(third.tasks[0].points) == 15
    assert third.tasks[0].state == "RUNNING"
    run.die()
    killed = reader.read()
    assert killed
    assert (killed.state, killed.tasks[0].state) == ("KILLED", "KILLED")
    assert killed.ended == pytest.approx(killed.tasks[0].points[-1]["time"])


@pytest.mark.parametrize("name", ["run.json", "end.json", "steps/evaluate.record.json", "steps/evaluate.step.json"])
def test_a_half_written_file_counts_as_absent(tmp_path: Path, name: str) -> None:
    run = FakeRun(tmp_path, "1124-1000-ab12").whole()
    path = run.folder / name
    path.write_text(path.read_text()[:10])
    view = read_run(run.folder)
    assert (view is None) == (name == "run.json")


def test_compare_shows_what_differs(tmp_path: Path) -> None:
    runs = [
        FakeRun(tmp_path, "1124-1000-ab12", beta=0.1).whole(),
        FakeRun(tmp_path, "1124-1005-cd34", beta=0.5).whole(),
    ]
    comparison = compare([view_of(run) for run in runs])
    assert comparison.settings == {"loss.beta": ["0.1", "0.5"]}
    assert comparison.metrics["eval/win_rate"] == [0.55, 0.75]
    assert comparison.metrics["train/loss"][0] == pytest.approx(runs[0].curves(STEPS)["train/loss"])
    assert comparison.as_dict()["metrics"]["eval/win_rate"] == {"1124-1000-ab12": 0.55, "1124-1005-cd34": 0.75}
    assert [folder.name for folder in run_folders(tmp_path)] == ["1124-1000-ab12", "1124-1005-cd34"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from preflow.tracking import recorder
    from preflow_pipelines.cli.compare import command

    monkeypatch.setenv("PREFLOW_HOME", str(tmp_path))
    asked: list[set[str]] = []
    monkeypatch.setattr(recorder, "sync", lambda home, say, only: asked.append({each.name for each in only}) or [])
    FakeRun(tmp_path, "1124-1000-ab12", beta=0.1).whole()
    FakeRun(tmp_path, "1124-1005-cd34", beta=0.5).whole()
    FakeRun(tmp_path, "1124-1010-ef56", beta=0.7).whole()
    shown = CliRunner().invoke(command, ["ab12", "cd34"])
    assert shown.exit_code == 0, shown.output
    assert "loss.beta" in shown.output and asked == [{"1124-1000-ab12", "1124-1005-cd34"}]
    assert "preflow ui 1124-1000-ab12 1124-1005-cd34" in shown.output
    found = json.loads(CliRunner().invoke(command, ["ab12", "cd34", "--json"]).output)
    assert found["settings"] == {"loss.beta": {"1124-1000-ab12": "0.1", "1124-1005-cd34": "0.5"}}
    assert found["metrics"]["eval/win_rate"]["1124-1005-cd34"] == 0.75
    assert found["mlflow"]["url"] is None


def test_the_saved_view_is_small_and_reads_back() -> None:
    state = view_state()
    assert decode(encode(state)) == state
    assert len(encode(state)) < 4500, "the limit of a tag is 5000"
    assert f"viewStateShareKey={KEY}" in charts_url("http://127.0.0.1:5050/", "1")
    assert "viewStateShareKey" not in charts_url("http://127.0.0.1:5050", "1", ["a", "b"])


def test_reading_runs_needs_no_mlflow() -> None:
    modules = "comparison, final_model, labels, projection, recorder, runs, server, store, view, writer"
    code = f"import sys; from preflow.tracking import {modules}; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
