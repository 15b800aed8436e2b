"""Which tasks of a workflow made the run's policy, as its compiled pipeline says."""

from collections.abc import Mapping
from typing import Any

REPORT, EVALUATION, SELECTION = "evaluate_journal", "policy", "second"
START = "model"

Spec = Mapping[str, Any]


def final_task(spec: Spec) -> str | None:
    """The task that made the model which the run's page is about; None where no page is made, or of the start model."""
    measured = page_evaluation(spec)
    return _producer(spec, measured, EVALUATION) if measured else None


def page_evaluation(spec: Spec) -> str | None:
    """The evaluation that the run's page shows: there may be others, of earlier rounds or of a control."""
    pages = [name for name, task in _tasks(spec).items() if REPORT in _artifacts(task)]
    return _producer(spec, pages[0], REPORT) if pages else None


def training_tasks(spec: Spec, final: str) -> list[str]:
    """The trainings that lead to the model of `final`, first to last: one, or one per round or stage.

    Where the best round was selected they are those of all rounds: they were all trained one after another.
    """
    task: str | None = final
    while task and _producer(spec, task, SELECTION):
        task = _producer(spec, task, SELECTION)
    chain: list[str] = []
    while task and (not chain or _component(spec, task) == _component(spec, chain[0])):
        chain.insert(0, task)
        task = _producer(spec, task, START)
    return chain


def upstream_tasks(spec: Spec, task: str) -> list[str]:
    """All tasks that had to be done before `task`."""
    found: list[str] = []
    todo = [task]
    while todo:
        needed = needed_tasks(spec, todo.pop())
        todo += [name for name in needed if name not in found]
        found += [name for name in needed if name not in found]
    return found


def needed_tasks(spec: Spec, task: str) -> list[str]:
    """The tasks whose outputs `task` takes, or that it waits for."""
    inputs = _tasks(spec).get(task, {}).get("inputs", {})
    sources = [each.get("taskOutputArtifact", {}) for each in inputs.get("artifacts", {}).values()]
    sources += [each.get("taskOutputParameter", {}) for each in inputs.get("parameters", {}).values()]
    producers = [source["producerTask"] for source in sources if "producerTask" in source]
    return list(dict.fromkeys([*producers, *_tasks(spec).get(task, {}).get("dependentTasks", ())]))


def _tasks(spec: Spec) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec.get("root", {}).get("dag", {}).get("tasks", {})
    return found


def _artifacts(task: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = task.get("inputs", {}).get("artifacts", {})
    return found


def _producer(spec: Spec, task: str, artifact: str) -> str | None:
    source = _artifacts(_tasks(spec).get(task, {})).get(artifact, {})
    producer = source.get("taskOutputArtifact", {}).get("producerTask")
    return None if producer is None else str(producer)


def _component(spec: Spec, task: str) -> str:
    """What the task runs: tasks of one step have components that differ in their number alone."""
    executor = spec["components"][_tasks(spec)[task]["componentRef"]["name"]].get("executorLabel", "")
    arguments = spec["deploymentSpec"]["executors"].get(executor, {}).get("container", {}).get("args", ())
    return (
        str(arguments[arguments.index("--function_to_execute") + 1]) if "--function_to_execute" in arguments else task
    )
