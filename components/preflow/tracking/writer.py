"""One MLflow run, written so that writing again changes nothing: what is there is known, what repeats is left out."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from preflow.tracking.plugin import OLDEST_FIRST
from preflow.tracking.runs import Point
from preflow.tracking.store import Store

MAX_METRICS, MAX_PARAMETERS = 1000, 100  # per call
MAX_TAG = 7500  # characters; the limit is 8000
COLOR = "mlflow.runColor"
COLORS = ("#077a9d", "#e98a1b", "#00a972", "#c82d4c", "#8a63bf", "#a2803b", "#3c71af", "#d66bb0", "#6b8e23", "#5f6b76")


class RunWriter:
    """Writes to one MLflow run. Metrics keep their time stamps, so a point that is sent twice is one point.

    A run that somebody else opened (`is_ours` is False) is written to, but neither ended nor opened again.
    """

    def __init__(self, client: Any, run: Any, is_ours: bool = True):
        self.client, self.id, self.is_ours = client, str(run.info.run_id), is_ours
        self.artifact_uri = str(run.info.artifact_uri)
        self.status, self._ended = str(run.info.status), run.info.end_time
        self.parameters, self.tags = dict(run.data.params), dict(run.data.tags)
        self.models = {output.model_id for output in (run.outputs.model_outputs if run.outputs else [])}
        self.datasets = {
            (each.dataset.name, each.dataset.digest) for each in (run.inputs.dataset_inputs if run.inputs else [])
        }
        self._sent: set[tuple[str, int, int]] = set()

    def write(
        self,
        *,
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        points: Iterable[Point] = (),
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Write what is not there yet. `about`: the model and dataset that the points concern (fields of a Metric)."""
        from mlflow.entities import Metric, Param, RunTag

        new_tags = {
            key: value[:MAX_TAG] for key, value in (tags or {}).items() if self.tags.get(key) != value[:MAX_TAG]
        }
        new_parameters = {key: value for key, value in (parameters or {}).items() if key not in self.parameters}
        metrics = [
            Metric(name, value, milliseconds, step, **(about or {}))
            for name, value, milliseconds, step in self._unsent(points)
        ]
        items = [Param(key, value) for key, value in new_parameters.items()]
        labels = [RunTag(key, value) for key, value in new_tags.items()]
        while metrics or items or labels:
            batch = metrics[:MAX_METRICS], items[:MAX_PARAMETERS], labels[:MAX_PARAMETERS]
            self._log(*batch)
            self._sent |= {(metric.key, metric.timestamp, metric.step) for metric in batch[0]}
            metrics, items, labels = metrics[MAX_METRICS:], items[MAX_PARAMETERS:], labels[MAX_PARAMETERS:]
        self.tags |= new_tags
        self.parameters |= new_parameters

    def _log(self, metrics: list[Any], parameters: list[Any], tags: list[Any]) -> None:
        """One batch. A parameter that has another value already, from whoever else writes to the run, costs no more than itself."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_batch(self.id, metrics, parameters, tags, synchronous=True)
        except MlflowException as error:
            if not parameters or error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            self.client.log_batch(self.id, metrics, (), tags, synchronous=True)
            for each in parameters:
                with contextlib.suppress(MlflowException):
                    self.client.log_batch(self.id, (), [each], (), synchronous=True)

    def _unsent(self, points: Iterable[Point]) -> list[tuple[str, float, int, int]]:
        found = {}
        for point in points:
            milliseconds, step = int(point["time"] * 1000), int(point["step"])
            identity = (point["name"], milliseconds, step)
            if identity not in self._sent:
                found[identity] = (point["name"], float(point["value"]), milliseconds, step)
        return list(found.values())

    def close(self, status: str, ended: float) -> None:
        """End the run with a status of MLflow: FINISHED, FAILED or KILLED."""
        milliseconds = int(ended * 1000)
        if self.is_ours and (self.status, self._ended) != (status, milliseconds):
            self.client.set_terminated(self.id, status, milliseconds)
            self.status, self._ended = status, milliseconds

    def open_again(self) -> None:
        """For work that goes on after it had failed."""
        if self.is_ours and self.status != "RUNNING":
            self.client.update_run(self.id, "RUNNING")
            self.status, self._ended = "RUNNING", None


def find_run(store: Store, tags: Mapping[str, str]) -> Any | None:
    """The run that carries these tags; of several the oldest, by which everybody agrees."""
    found = _find_runs(store, tags)
    return found[0] if found else None


def _find_runs(store: Store, tags: Mapping[str, str]) -> list[Any]:
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    return list(store.client.search_runs([store.experiment_id], query, order_by=OLDEST_FIRST, max_results=10))


def find_or_create(
    store: Store, identity: Mapping[str, str], name: str, started: float, tags: Mapping[str, str]
) -> RunWriter:
    """The run with the tags `identity`, made if there is none.

    Pods that start together may each make one: all of them keep the oldest, and the others are deleted. Whoever still writes
    to one of those gets an error, and looks again.
    """
    found = _find_runs(store, identity)
    if not found:
        made = store.client.create_run(
            store.experiment_id, start_time=int(started * 1000), run_name=name, tags={**identity, **tags}
        )
        found = _find_runs(store, identity) or [made]
    for other in found[1:]:
        _delete(store.client, other)
    return RunWriter(store.client, found[0])


def _delete(client: Any, run: Any) -> None:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # somebody else did
        client.delete_run(run.info.run_id)


def free_color(store: Store) -> str:
    """A colour that none of the latest runs has: MLflow's own are a hash, by which two runs often look the same."""
    query = "tags.`run.kind` = 'pipeline'"
    latest = store.client.search_runs([store.experiment_id], query, max_results=len(COLORS) - 1)
    taken = {run.data.tags.get(COLOR) for run in latest}
    return next(color for color in COLORS if color not in taken)
