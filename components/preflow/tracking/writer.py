"""One MLflow run, written so that writing again changes nothing: what is there is known, what repeats is left out."""

from collections.abc import Iterable, Mapping
from typing import Any

from preflow.tracking.runs import Point
from preflow.tracking.store import Store

MAX_METRICS, MAX_PARAMETERS = 1000, 100  # per call
MAX_TAG = 7500  # characters; the limit is 8000
COLOR = "mlflow.runColor"
COLORS = ("#077a9d", "#e98a1b", "#00a972", "#c82d4c", "#8a63bf", "#a2803b", "#3c71af", "#d66bb0", "#6b8e23", "#5f6b76")


class RunWriter:
    """Writes to one MLflow run. Metrics keep their time stamps, so a point that is sent twice is one point."""

    def __init__(self, client: Any, run: Any):
        self.client, self.id = client, str(run.info.run_id)
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
            self.client.log_batch(self.id, *batch, synchronous=True)
            self._sent |= {(metric.key, metric.timestamp, metric.step) for metric in batch[0]}
            metrics, items, labels = metrics[MAX_METRICS:], items[MAX_PARAMETERS:], labels[MAX_PARAMETERS:]
        self.tags |= new_tags
        self.parameters |= new_parameters

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
        if (self.status, self._ended) != (status, milliseconds):
            self.client.set_terminated(self.id, status, milliseconds)
            self.status, self._ended = status, milliseconds


def find_run(store: Store, tags: Mapping[str, str]) -> Any | None:
    """The run that carries these tags; of several the oldest, by which everybody agrees."""
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    found = store.client.search_runs([store.experiment_id], query, order_by=order, max_results=1)
    return found[0] if found else None


def find_or_create(
    store: Store, identity: Mapping[str, str], name: str, started: float, tags: Mapping[str, str]
) -> RunWriter:
    """The run with the tags `identity`, made if there is none."""
    run = find_run(store, identity)
    if run is None:
        run = store.client.create_run(
            store.experiment_id, start_time=int(started * 1000), run_name=name, tags={**identity, **tags}
        )
    return RunWriter(store.client, run)


def free_color(store: Store) -> str:
    """A colour that none of the latest runs has: MLflow's own are a hash, by which two runs often look the same."""
    query = "tags.`run.kind` = 'pipeline'"
    latest = store.client.search_runs([store.experiment_id], query, max_results=len(COLORS) - 1)
    taken = {run.data.tags.get(COLOR) for run in latest}
    return next(color for color in COLORS if color not in taken)
