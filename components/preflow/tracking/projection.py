"""A run folder, projected into MLflow: one parent per run, one child per step, cached steps linked to their originals.

The projection may be repeated, interrupted and continued at will: what is there already is found by its tags and is
not written twice. MLflow compares parents, so the parent carries what is worth comparing: headline metrics once at
step 0, the policy's curves, datasets, samples, and the model. Children carry everything of their journals.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from preflow.errors import PreflowError
from preflow.tracking import attachments
from preflow.tracking.final_model import log_final_model, register
from preflow.tracking.labels import (
    child_name,
    curve_names,
    fact_points,
    headline_points,
    run_name,
    run_parameters,
    step_parameters,
)
from preflow.tracking.runs import RunView, TaskView
from preflow.tracking.store import Store
from preflow.tracking.writer import COLOR, RunWriter, find_or_create, find_run, free_color

STATUS = {"SUCCEEDED": "FINISHED", "EXECUTED": "FINISHED", "CACHED": "FINISHED", "FAILED": "FAILED"}  # all else: KILLED
DONE = ("EXECUTED", "CACHED")


class Projection:
    """Writes one run. Errors of the store pass through (try again later); unreadable files become `problems`."""

    def __init__(self, store: Store):
        self.store = store
        self.parent: RunWriter | None = None
        self.children: dict[str, RunWriter] = {}
        self.model_id: str | None = None
        self.model_version: str | None = None
        self.problems: list[str] = []
        self.unlinked: set[str] = set()
        self._filed: set[str] = set()

    def push(self, view: RunView) -> None:
        """Bring MLflow up to date with a run that may still go on."""
        parent = self._parent(view)
        for task in view.tasks:
            self._child(view, task, parent)
        policy = view.policy_task
        if policy is not None:
            curves = set(curve_names(policy))
            parent.write(points=[point for point in view.training_points if point["name"] in curves])
        parent.write(points=headline_points(view))

    def complete(self, view: RunView) -> None:
        """All of a run that is over, then close it."""
        assert view.ended is not None, "the run goes on"
        self.push(view)
        parent = self._parent(view)
        self._file("datasets", lambda: attachments.log_datasets(view, parent))
        self._file("samples", lambda: attachments.log_samples(view, parent))
        self._file("report", lambda: attachments.log_report(view, parent))
        for task in view.tasks:
            child = self.children[task.task]
            self._file(f"{task.task}: files", partial(attachments.log_task_files, task, view.folder, child))
            child.close(STATUS.get(task.state, "KILLED"), task.ended or view.ended)
        if self.model_id:
            self.model_version = register(self.store, view, self.model_id, parent.id)
        description = attachments.note(view, self.children, self.store.experiment_id)
        parent.write(tags={"preflow.state": view.state, "mlflow.note.content": description})
        parent.close(STATUS.get(view.state, "KILLED"), view.ended)

    def _parent(self, view: RunView) -> RunWriter:
        if self.parent is None:
            about = view.about
            tags = {
                "preflow.method": about["method"],
                "preflow.version": about.get("version", ""),
                "preflow.state": view.state,
                "preflow.folder": str(view.folder),
                "mlflow.source.name": "preflow",
                "mlflow.source.type": "LOCAL",
            }
            for name in ("parent", "relation"):
                if about.get(name):
                    tags[f"preflow.{name}_run" if name == "parent" else f"preflow.{name}"] = about[name]
            tags[COLOR] = free_color(self.store)
            identity = {"preflow.run": view.id, "run.kind": "pipeline"}
            self.parent = find_or_create(self.store, identity, run_name(about), about["created"], tags)
            self.parent.write(parameters=run_parameters(about))
        return self.parent

    def _child(self, view: RunView, task: TaskView, parent: RunWriter) -> None:
        child = self.children.get(task.task)
        if child is None:
            tags = {"mlflow.parentRunId": parent.id, "run.kind": "step", "step.name": task.step, "step.key": task.key}
            tags |= {"mlflow.source.name": "preflow", "mlflow.source.type": "LOCAL"}
            identity = {"preflow.parent": view.id, "preflow.step": task.task}
            child = find_or_create(self.store, identity, child_name(view, task), task.started, tags)
            self.children[task.task] = child
        child.write(parameters=step_parameters(task), tags={"step.cached": str(task.state == "CACHED").lower()})
        if task is view.model_task and task.state in DONE and self.model_id is None:
            self._file("model", lambda: self._log_model(view, parent, child))
        child.write(points=[*task.points, *fact_points(task)], about=self._subject(view, task))
        if task.state == "CACHED":
            self._link(task, child)
        elif task.error:
            child.write(tags={"mlflow.note.content": f"**{task.error.get('type')}**: {task.error.get('message')}"})
        if task.ended and task.state != "RUNNING":
            child.close(STATUS.get(task.state, "KILLED"), task.ended)

    def _log_model(self, view: RunView, parent: RunWriter, child: RunWriter) -> None:
        self.model_id = log_final_model(self.store, view, parent, child)

    def _subject(self, view: RunView, task: TaskView) -> dict[str, str]:
        """What the metrics of the evaluation are about: the model and the held-out rows."""
        if task is not view.evaluation_task or self.model_id is None:
            return {}
        return {"model_id": self.model_id, **attachments.dataset_of(view, task, "heldout", "evaluation")}

    def _link(self, task: TaskView, child: RunWriter) -> None:
        """Point a reused step to the run that executed it, as soon as that is in MLflow."""
        if "step.source_run_id" in child.tags:
            return
        child.write(tags={"preflow.origin": task.origin or ""})
        original = find_run(self.store, {"preflow.parent": task.origin or "", "preflow.step": task.task})
        if original is None:
            self.unlinked.add(task.task)
            return
        self.unlinked.discard(task.task)
        link = attachments.link(f"{task.task} of run {task.origin}", original.info.run_id, self.store.experiment_id)
        child.write(tags={"step.source_run_id": original.info.run_id, "mlflow.note.content": f"Reused from {link}."})

    def _file(self, name: str, log: Callable[[], Any]) -> None:
        """Attach something once; what cannot be read is a problem to report, no reason to stop."""
        if name in self._filed:
            return
        try:
            log()
        except (OSError, ValueError, KeyError, PreflowError) as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise
            self.problems.append(f"{name}: {error}")
        self._filed.add(name)
