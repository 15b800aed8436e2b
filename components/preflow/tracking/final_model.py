"""The model that a run trained, as a LoggedModel of plain files: hard links where the file system can.

`mlflow.transformers.log_model` refuses checkpoints of transformers 5 and would load the model to copy it, so the
flavour is left aside: initialize, put the files, finalize. Such a model can be registered and downloaded all the same.
"""

from typing import Any

from preflow.tracking.labels import model_name, run_name
from preflow.tracking.model_files import POINTER, model_files
from preflow.tracking.runs import RunView
from preflow.tracking.store import Store
from preflow.tracking.writer import RunWriter

OUTPUT, ORIGIN, RUN = "trained", "preflow.origin", "preflow.run"


def log_final_model(store: Store, view: RunView, parent: RunWriter, child: RunWriter) -> tuple[str | None, str | None]:
    """The id of the run's model, as an output of the run and of the task that made it, and what there is to say about its
    files; None while there is none.

    A run that reused its training shows the model of the run that trained it.
    """
    task = view.model_task
    if task is None or task.state not in ("EXECUTED", "CACHED"):
        return None, None
    files = model_files(view, task.outputs.get(OUTPUT, ""))
    if files is None:
        return None, None
    origin = f"{task.origin or view.id}/{task.task}"
    model = _find(store, origin)
    if model is None:
        name = model_name(run_name(view.about))
        tags = {ORIGIN: origin, RUN: view.id, "preflow.folder": files.place}
        model = store.client.create_logged_model(store.experiment_id, name, source_run_id=parent.id, tags=tags)
    is_pointer = model.tags.get(POINTER) == "true"
    # Also one whose upload was interrupted, and one whose files were left where they are by a run that needed no more.
    if str(model.status) != "READY" or (is_pointer and files.are_copied):
        tags = files.put(store, model)
        if tags:
            store.client.set_logged_model_tags(model.model_id, tags)
        is_pointer = tags.get(POINTER) == "true"
        if str(model.status) != "READY":
            model = store.client.finalize_logged_model(model.model_id, "READY")
    last_step = max((int(point["step"]) for point in task.points), default=0)
    for run in (parent, child):
        _add_output(run, model.model_id, last_step)
    return str(
        model.model_id
    ), f"Model: not copied into MLflow; its files are in `{files.place}`" if is_pointer else None


def _find(store: Store, origin: str) -> Any | None:
    found = store.client.search_logged_models([store.experiment_id], filter_string=f"tags.`{ORIGIN}` = '{origin}'")
    ready = [model for model in found if str(model.status) == "READY"]
    return min(ready or found, key=lambda model: (model.creation_timestamp, model.model_id), default=None)


def _add_output(run: RunWriter, model_id: str, step: int) -> None:
    from mlflow.entities import LoggedModelOutput

    if model_id not in run.models:  # to say it twice is an error
        run.client.log_outputs(run.id, [LoggedModelOutput(model_id, step)])
        run.models.add(model_id)


def register(store: Store, view: RunView, model_id: str, run_id: str) -> str | None:
    """Register the model under the name that the run file asks for; the version. None if it asks for none."""
    from mlflow.exceptions import MlflowException

    name = view.about["tracking"].get("register_as")
    if not name or view.state != "SUCCEEDED":
        return None
    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    escaped = name.replace("'", "\\'")
    for version in store.client.search_model_versions(f"name = '{escaped}'"):
        if version.tags.get(RUN) == view.id:
            return str(version.version)
    made = store.client.create_model_version(
        name, f"models:/{model_id}", run_id=run_id, tags={RUN: view.id}, model_id=model_id
    )
    return str(made.version)
