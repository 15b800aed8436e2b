"""The model that a run trained, as a LoggedModel of plain files: hard links where the file system can.

`mlflow.transformers.log_model` refuses checkpoints of transformers 5 and would load the model to copy it, so the
flavour is left aside: initialize, put the files, finalize. Such a model can be registered and downloaded all the same.
"""

import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from preflow.artifacts.digests import DigestIndex
from preflow.tracking.labels import model_name, run_name
from preflow.tracking.runs import RunView
from preflow.tracking.store import Store
from preflow.tracking.writer import RunWriter

OUTPUT, ORIGIN, RUN = "trained", "preflow.origin", "preflow.run"


def log_final_model(store: Store, view: RunView, parent: RunWriter, child: RunWriter) -> str | None:
    """The id of the run's model, as an output of the run and of the task that made it; None while there is none.

    A run that reused its training shows the model of the run that trained it.
    """
    task = view.model_task
    folder = Path(task.outputs.get(OUTPUT, "")) if task else Path()
    if task is None or task.state not in ("EXECUTED", "CACHED") or not (folder / "config.json").is_file():
        return None
    origin = f"{task.origin or view.id}/{task.task}"
    model = _find(store, origin)
    if model is None:
        name = model_name(run_name(view.about))
        tags = {ORIGIN: origin, RUN: view.id, "preflow.folder": str(folder)}
        model = store.client.create_logged_model(store.experiment_id, name, source_run_id=parent.id, tags=tags)
    if str(model.status) != "READY":  # also one whose upload was interrupted
        _put_files(store, model, folder, view.folder.parents[1])
        model = store.client.finalize_logged_model(model.model_id, "READY")
    last_step = max((int(point["step"]) for point in task.points), default=0)
    for run in (parent, child):
        _add_output(run, model.model_id, last_step)
    return str(model.model_id)


def _find(store: Store, origin: str) -> Any | None:
    found = store.client.search_logged_models([store.experiment_id], filter_string=f"tags.`{ORIGIN}` = '{origin}'")
    ready = [model for model in found if str(model.status) == "READY"]
    return min(ready or found, key=lambda model: (model.creation_timestamp, model.model_id), default=None)


def _put_files(store: Store, model: Any, folder: Path, home: Path) -> None:
    target = local_path(model.artifact_location)
    if target is None:
        store.client.log_model_artifacts(model.model_id, str(folder))
        return
    index = DigestIndex(home / "cache" / "digests.json")  # the next run need not read the linked files again
    for path in folder.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            try:
                index.link(path, place)
            except OSError:  # another file system
                shutil.copyfile(path, place)
    index.save()


def local_path(uri: str) -> Path | None:
    """The folder that a file URI or a plain path names; None for artifacts that are elsewhere."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(uri) if not parts.scheme else None


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
