"""The model of a run with rounds, and the curve of all its trainings."""

from pathlib import Path
from typing import Any

from preflow.tracking.labels import headline
from preflow.tracking.lineage import final_task, page_evaluation, training_tasks
from preflow.tracking.runs import RunView, TaskView


def task(step: str, **inputs: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    artifacts = {
        name: {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": output}}
        for name, (producer, output) in inputs.items()
    }
    return step, {"componentRef": {"name": f"comp-{step}"}, "inputs": {"artifacts": artifacts}}


def spec(**tasks: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A compiled pipeline, as far as lineage looks at it; a name's underscores stand for hyphens."""
    steps = {step for step, _ in tasks.values()}
    arguments = {step: ["--executor_input", "{}", "--function_to_execute", step] for step in steps}
    return {
        "root": {"dag": {"tasks": {name.replace("_", "-"): body for name, (_, body) in tasks.items()}}},
        "components": {f"comp-{step}": {"executorLabel": f"exec-{step}"} for step in steps},
        "deploymentSpec": {"executors": {f"exec-{step}": {"container": {"args": arguments[step]}} for step in steps}},
    }


SELECTED = spec(
    importer=task("importer"),
    sft=task("sft", model=("importer", "artifact")),
    train=task("train", model=("sft", "trained")),
    train_2=task("train", model=("train", "trained")),
    select=task("select", first=("train", "trained"), second=("train-2", "trained")),
    evaluate=task("evaluate", policy=("train-2", "trained")),
    evaluate_2=task("evaluate", policy=("select", "trained")),
    report=task("report", evaluate_journal=("evaluate-2", "journal")),
)


def test_the_model_is_the_one_that_the_page_is_about() -> None:
    assert final_task(SELECTED) == "select"
    assert training_tasks(SELECTED, "select") == ["train", "train-2"], "fine-tuning before it is another matter"
    assert final_task({}) is None
    start = spec(evaluate=task("evaluate"), report=task("report", evaluate_journal=("evaluate", "journal")))
    assert final_task(start) is None


def begun(name: str, steps: int, started: float) -> TaskView:
    points = [
        {"name": "train/loss", "step": step + 1, "value": 1.0 / (step + 1), "time": started} for step in range(steps)
    ]
    return TaskView(name, "train_preference", "EXECUTED", started, started + 1, {}, "", points, None)


def test_rounds_make_one_curve() -> None:
    about = {"id": "x", "tasks": {name: {"step": "train_preference"} for name in ("train", "train-2")}}
    tasks = [begun("train", 3, 0.0), begun("train-2", 2, 5.0)]
    view = RunView(Path(), about, "RUNNING", None, None, tasks, "select", ("train", "train-2", "train-3"))
    assert [point["step"] for point in view.training_points] == [1, 2, 3, 4, 5]
    assert view.model_task is None, "it has not begun"
    alone = RunView(Path(), about, "RUNNING", None, None, tasks)
    assert alone.model_task is alone.policy_task is tasks[1]
    assert [point["step"] for point in alone.training_points] == [1, 2]


def measured(name: str, step: str, started: float, **numbers: float) -> TaskView:
    points = [
        {"name": f"eval/{metric}", "step": 0, "value": value, "time": started} for metric, value in numbers.items()
    ]
    journal = {"step": step, "metrics": points}
    return TaskView(name, step, "EXECUTED", started, started + 1, {}, "", points, journal)


def test_the_headline_is_that_of_the_page_whatever_was_measured_last() -> None:
    """A control is evaluated too, and may come last; what the model still knows stands beside it."""
    assert page_evaluation(SELECTED) == "evaluate-2"
    tasks = [
        measured("evaluate-2", "evaluate", 1.0, win_rate=0.7),
        measured("evaluate-unlearning", "evaluate_unlearning", 2.0, model_utility=0.6),
        measured("evaluate", "evaluate", 3.0, win_rate=0.2, length_ratio=2.0),
    ]
    about = {"id": "x", "tasks": {each.task: {"step": each.step} for each in tasks}}
    view = RunView(Path(), about, "RUNNING", None, None, tasks, evaluation="evaluate-2")
    assert headline(view) == {"eval/win_rate": 0.7, "eval/model_utility": 0.6}
    assert RunView(Path(), about, "RUNNING", None, None, tasks).evaluation_task is tasks[2]
