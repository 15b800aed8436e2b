"""Which model a finished run is about: the one that the evaluation on its page measured, and the training that made it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preflow.artifacts.manifest import Manifest, verify_manifest
from preflow.errors import ArtifactError, SettingsError
from preflow.tracking.runs import POLICY_STEPS, RunView, TaskView, read_run
from preflow_pipelines.runners.folder import RunFolder
from preflow_pipelines.runners.tasks import Task, tasks_of

MEASURED, KEPT = "evaluate_journal", "kept"


@dataclass(frozen=True)
class FinishedModel:
    """`model` is the folder of the trained model, verified; `training` made it, `evaluation` measured it."""

    view: RunView
    training: TaskView
    evaluation: TaskView | None
    model: Path
    manifest: Manifest

    @property
    def start(self) -> Path | None:
        """The folder that the training started from, if it is still there."""
        found = (self.training.journal or {}).get("inputs", {}).get("model", {}).get("path")
        return Path(found) if found and Path(found, "config.json").is_file() else None

    @property
    def starts_at_the_run(self) -> bool:
        """Whether the training started from the run's own model, rather than from what an earlier training made."""
        return bool(self.manifest.facts.get("trained_from") == self.view.about["inputs"]["model"]["digest"])


def finished_model(run: RunFolder) -> FinishedModel:
    """Raises SettingsError for a run that is not finished or trains no policy, ArtifactError for a model that is gone or damaged."""
    view, spec = read_run(run.path), run.read("pipeline.json")
    if run.state != "SUCCEEDED" or view is None or spec is None:
        raise SettingsError(
            f"run {run.id}: {run.state.lower()}, expected a run that has succeeded. Wait for it, or run its file again: "
            "what is done already is reused."
        )
    graph, tasks = {task.name: task for task in tasks_of(spec)}, {task.task: task for task in view.tasks}
    evaluation = _reported(graph)
    training = _made_by(view.final, graph, tasks) if view.final else view.policy_task
    if training is None or "trained" not in training.outputs:
        raise SettingsError(
            f"run {run.id}: trains no policy (its steps: {', '.join(graph)}). Name a run that does; see preflow runs."
        )
    if "://" in training.outputs["trained"]:
        raise SettingsError(
            f"run {run.id}: its model is on the cluster. Expected it on this machine. Fetch it: preflow pull {run.id}"
        )
    folder = Path(training.outputs["trained"])
    try:
        manifest = verify_manifest(folder)
    except ArtifactError as error:
        raise ArtifactError(
            f"run {run.id}: the model of {training.task} is not whole ({error}) Run its file again; it is then made again."
        ) from None
    return FinishedModel(view, training, tasks.get(evaluation) if evaluation else None, folder, manifest)


def _reported(graph: Mapping[str, Task]) -> str | None:
    """The evaluation that the run's page is about, as the compiled workflow says."""
    pages = [task for task in graph.values() if MEASURED in task.inputs]
    return pages[0].inputs[MEASURED][0] if pages else None


def _made_by(name: str, graph: Mapping[str, Task], tasks: Mapping[str, TaskView]) -> TaskView | None:
    """The training task behind a model: a selection's journal says which of its two it kept."""
    while name in tasks and tasks[name].step not in POLICY_STEPS:
        kept = ((tasks[name].journal or {}).get("facts") or {}).get(KEPT)
        if not isinstance(kept, str) or kept not in graph[name].inputs:
            return None
        name = graph[name].inputs[kept][0]
    return tasks.get(name)
