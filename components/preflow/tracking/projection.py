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
from preflow.tracking.plugin import NAME, PARENT, TAKEN, TASK, plugin_child
from preflow.tracking.runs import RunView, TaskView
from preflow.tracking.store import Store
from preflow.tracking.writer import COLOR, RunWriter, find_or_create, find_run, free_color

NOTE = "mlflow.note.content"

STATUS = {"SUCCEEDED": "FINISHED", "EXECUTED": "FINISHED", "CACHED": "FINISHED", "FAILED": "FAILED"}  # all else: KILLED
DONE = ("EXECUTED", "CACHED")


class Projection:
    """Writes one run. Errors of the store pass through (try again later); unreadable files become `problems`."""

    def __init__(self, store: Store):
        self.store = store
        self.parent: RunWriter | None = None
        self.children: dict[str, RunWriter] = {}
        self.model_id: str | None = None
        self.model_note: str | None = None
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
        description = attachments.note(view, self.children, self.store.experiment_id, self.model_note)
        parent.write(tags={"preflow.state": view.state, NOTE: description})
        parent.close(STATUS.get(view.state, "KILLED"), view.ended)

    def _parent(self, view: RunView) -> RunWriter:
        if self.parent is None:
            about, identity = view.about, {"preflow.run": view.id, "run.kind": "pipeline"}
            tags = _run_tags(view) | {COLOR: free_color(self.store)}
            name = run_name(about)
            if self.store.opened is not None:
                self.parent = _take_over(self.store, self.store.opened, name, identity | tags)
            else:
                self.parent = find_or_create(self.store, identity, name, about["created"], tags)
            if not view.is_over:
                self.parent.open_again()
            self.parent.write(parameters=run_parameters(about))
        return self.parent

    def _child(self, view: RunView, task: TaskView, parent: RunWriter) -> None:
        child = self.children.get(task.task)
        if child is None:
            child = self.children[task.task] = self._find_child(view, task, parent)
            if task.state == "RUNNING":
                child.open_again()
        child.write(parameters=step_parameters(task), tags={"step.cached": str(task.state == "CACHED").lower()})
        # A model in a bucket takes minutes: it waits for the run's end, and what was measured of it, too.
        waits = view.cluster is not None and not view.is_over
        if task is view.model_task and task.state in DONE and self.model_id is None and not waits:
            self._file("model", lambda: self._log_model(view, parent, child))
        if task is not view.evaluation_task or not waits:
            child.write(points=[*task.points, *fact_points(task)], about=self._subject(view, task))
        if task.state == "CACHED":
            self._link(task, child)
        elif task.error:
            child.write(tags={NOTE: f"**{task.error.get('type')}**: {task.error.get('message')}"})
        elif child.tags.get(NOTE):  # of a try that failed
            child.write(tags={NOTE: ""})
        if task.ended and task.state != "RUNNING":
            child.close(STATUS.get(task.state, "KILLED"), task.ended)

    def _find_child(self, view: RunView, task: TaskView, parent: RunWriter) -> RunWriter:
        identity = {"preflow.parent": view.id, TASK: task.task}
        tags = {PARENT: parent.id, "run.kind": "step", "step.name": task.step, "step.key": task.key}
        tags |= {"mlflow.source.name": "preflow", "mlflow.source.type": "LOCAL"}
        name = child_name(view, task)
        if not parent.is_ours:
            opened = plugin_child(self.store.client, self.store.experiment_id, parent.id, task.task)
            if opened is not None:
                return _take_over(self.store, opened, name, identity | tags | {PARENT: opened.data.tags[PARENT]})
        child = find_or_create(self.store, identity, name, task.started, tags)
        child.write(tags={PARENT: parent.id})  # it may have been made below a parent that is deleted
        return child

    def _log_model(self, view: RunView, parent: RunWriter, child: RunWriter) -> None:
        self.model_id, self.model_note = log_final_model(self.store, view, parent, child)

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
        child.write(tags={"step.source_run_id": original.info.run_id, NOTE: f"Reused from {link}."})

    def _file(self, name: str, log: Callable[[], Any]) -> None:
        """Attach something once; what cannot be read is a problem to report, no reason to stop."""
        if name in self._filed:
            return
        try:
            log()
        except (OSError, ValueError, KeyError, ImportError, PreflowError) as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise
            self.problems.append(f"{name}: {error}")
        self._filed.add(name)


def _run_tags(view: RunView) -> dict[str, str]:
    """What a parent says beside its parameters."""
    about = view.about
    tags = {
        "preflow.method": about["method"],
        "preflow.version": about.get("version", ""),
        "preflow.state": view.state,
        "preflow.folder": view.place,
        "mlflow.source.name": "preflow",
        "mlflow.source.type": "LOCAL",
    }
    for name in ("parent", "relation"):
        if about.get(name):
            tags[f"preflow.{name}_run" if name == "parent" else f"preflow.{name}"] = about[name]
    if view.cluster and view.cluster.get("kfp_run"):
        tags["preflow.kfp_run"] = view.cluster["kfp_run"]
    return tags


def _take_over(store: Store, opened: Any, name: str, tags: dict[str, str]) -> RunWriter:
    """A run of the plugin as one of ours."""
    run = RunWriter(store.client, opened, is_ours=False)
    known = tags if TAKEN not in run.tags else {key: value for key, value in tags.items() if key != COLOR}
    run.write(tags={**known, TAKEN: "true", NAME: name})
    return run
