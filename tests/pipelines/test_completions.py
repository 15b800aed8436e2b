"""The graphs of methods on completions: conversions, rounds with two references, what is still known, stages."""

from pathlib import Path
from typing import Any

import pytest

from preflow.settings.plan import make_plan
from preflow.settings.runfile import parse_run_file
from preflow.tracking.lineage import final_task, training_tasks
from preflow_pipelines.compile import pipeline_spec
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.runners.tasks import Task, tasks_of

FILES = ("labelled", "pairs", "scored", "negatives", "forget", "retain", "questions", "prompts")


def compiled(folder: Path, content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
    for name in FILES:
        (folder / f"{name}.jsonl").touch()
    for name in ("model", "base", "unkind"):
        (folder / name).mkdir(exist_ok=True)
    spec, _ = pipeline_spec(make_plan(parse_run_file({"model": "./model", **content}), folder), Hardware())
    return spec, {task.name: task for task in tasks_of(spec)}


def test_other_rows_are_converted_before_training_and_not_for_evaluation(tmp_path: Path) -> None:
    _, tasks = compiled(tmp_path, {"method": "kto", "data": {"pairs": "pairs.jsonl"}})
    assert tasks["convert"].inputs["data"] == ("import-data", "data")
    for name in ("reference-logps", "train-preference"):
        assert tasks[name].inputs["data"] == ("convert", "converted")
    assert tasks["evaluate"].inputs["heldout"] == ("import-data", "heldout")
    _, plain = compiled(tmp_path, {"method": "kto", "data": {"labelled": "labelled.jsonl"}})
    assert "convert" not in plain
    assert plain["train-preference"].inputs["data"] == ("import-data", "data")


def test_one_round_asks_the_start_model_once(tmp_path: Path) -> None:
    _, tasks = compiled(tmp_path, {"method": "d2o", "data": {"negatives": "negatives.jsonl"}})
    assert [name for name in tasks if name.startswith("reference")] == ["reference-logps"]
    assert tasks["reference-logps"].inputs["samples"] == ("generate-candidates", "completions")
    assert "sample_logps" not in tasks["train-preference"].inputs


def test_rounds_sample_the_newest_policy_and_keep_their_references(tmp_path: Path) -> None:
    content = {"method": "d2o", "data": {"negatives": "negatives.jsonl"}, "rounds": {"count": 2}}
    spec, tasks = compiled(tmp_path, {**content, "reference": {"harmful": "./unkind"}})
    assert tasks["generate-candidates"].inputs["model"] == ("input", "model")
    assert tasks["generate-candidates-2"].inputs["model"] == ("train-preference", "trained")
    assert tasks["train-preference-2"].inputs["model"] == ("train-preference", "trained")
    for number, name in enumerate(("train-preference", "train-preference-2")):
        inputs = tasks[name].inputs
        assert inputs["logps"] == ("reference-logps", "logps"), "of the data, once for all rounds"
        sampler = "generate-candidates" + ("-2" if number else "")
        assert inputs["samples"] == (sampler, "completions")
        apart = tasks[inputs["sample_logps"][0]]
        assert apart.inputs["model"] == ("input", "harmful_model") and apart.inputs["samples"] == (
            sampler,
            "completions",
        )
    assert tasks["reference-logps"].inputs["model"] == ("input", "model")
    assert final_task(spec) == "train-preference-2"
    assert training_tasks(spec, "train-preference-2") == ["train-preference", "train-preference-2"]


def test_unlearning_is_measured_beside_a_model_that_never_saw_the_rows(tmp_path: Path) -> None:
    unlearning = {"forget": "questions.jsonl", "retain": "questions.jsonl", "retain_model": {"model": "./base"}}
    content = {"method": "npo", "data": {"forget": "forget.jsonl"}, "retain": {"files": "retain.jsonl"}}
    spec, tasks = compiled(tmp_path, {**content, "unlearning": unlearning})
    measured = tasks["evaluate-unlearning"]
    assert tasks["sft"].inputs["model"] == ("input", "base_model")
    assert measured.inputs["retained"] == ("sft", "trained")
    assert measured.inputs["policy"] == ("train-preference", "trained")
    assert tasks["train-preference"].inputs["companion"] == tasks["sft"].inputs["data"]
    assert tasks["report"].inputs["unlearning"] == ("evaluate-unlearning", "journal")
    assert {"forget", "retain"} <= measured.inputs.keys() and "world_facts" not in measured.inputs
    assert final_task(spec) == "train-preference"


def test_rows_to_retain_may_be_for_comparison_alone(tmp_path: Path) -> None:
    unlearning = {"forget": "questions.jsonl", "retain_model": {"model": "./base"}}
    content = {"method": "npo", "data": {"forget": "forget.jsonl"}, "retain": {"files": "retain.jsonl"}}
    _, tasks = compiled(
        tmp_path, {**content, "unlearning": unlearning, "loss": {"name": "gradient_ascent", "retain": "none"}}
    )
    assert "companion" not in tasks["train-preference"].inputs and "logps" not in tasks["train-preference"].inputs
    assert "sft" in tasks and not any(name.startswith("reference") for name in tasks)


@pytest.mark.parametrize("count", [2, 3])
def test_stages_go_on_from_each_other(count: int, tmp_path: Path) -> None:
    content = {"method": "sdpo", "data": {"pairs": "pairs.jsonl"}, "stages": {"count": count}}
    spec, tasks = compiled(tmp_path, content)
    final = final_task(spec)
    assert final is not None
    chain = training_tasks(spec, final)
    assert len(chain) == count
    for index, name in enumerate(chain):
        inputs = tasks[name].inputs
        part = tasks[inputs["data"][0]]
        assert part.step == "split_stages" and part.section == f"stage_{index}"
        assert part.inputs["logps"] == ("reference-logps", "logps"), "every stage sorts by the start model"
        logps = tasks[inputs["logps"][0]]
        if index == 0:
            assert logps.name == "reference-logps" and inputs["model"] == ("input", "model")
        else:
            assert inputs["model"] == logps.inputs["model"] == (chain[index - 1], "trained"), "start and reference"
            assert logps.inputs["data"] == inputs["data"]
    control = tasks[tasks["report"].inputs["control"][0]]
    other = tasks[control.inputs["policy"][0]]
    assert other.section == "train_control" and other.name not in chain
    assert other.inputs["data"] == ("import-data", "data") and other.inputs["logps"] == ("reference-logps", "logps")
    assert tasks["report"].inputs["evaluate_journal"][0] != control.name


def test_without_a_control_nothing_is_compared(tmp_path: Path) -> None:
    content = {"method": "sdpo", "data": {"pairs": "pairs.jsonl"}, "stages": {"control": False}}
    _, tasks = compiled(tmp_path, content)
    assert "control" not in tasks["report"].inputs
    assert len([name for name in tasks if name.startswith("evaluate")]) == 1
