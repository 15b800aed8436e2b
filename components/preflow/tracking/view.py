"""The saved view that printed links open: headline metrics as columns and bars, the curves of all runs together.

MLflow keeps saved views as experiment tags. The feature is MLflow's, the format is not documented: it stands in this
module alone, written best-effort, tested against the pinned version.
"""

import base64
import json
import time
import urllib.parse
import zlib
from collections.abc import Sequence
from typing import Any

from preflow.tracking.labels import CURVES
from preflow.tracking.store import Store

TAG, KEY, NAME = "mlflow.sharedViewState.", "preflow", "Compare runs"
HEADLINE = ("win_rate", "reward_accuracy", "reward_margin", "kl_to_reference", "length_ratio", "distinct_2")
COLUMN_METRICS = ("win_rate", "reward_accuracy", "kl_to_reference", "length_ratio")
COLUMN_PARAMETERS = ("method", "loss.beta", "train.learning_rate", "seed")
BANNER = (
    "Runs of **preflow**: a parent per pipeline run, a child per step. Compare parents: they carry the headline "
    "metrics (`eval/`), the training curves (`train/`), samples side by side (artifact view: `samples.json`), "
    "datasets and models. The view *Compare runs* shows them all."
)


def provide_view(store: Store) -> None:
    """Write the view and the experiment's banner where they are missing or from another version."""
    experiment = store.client.get_experiment(store.experiment_id)
    _write(store, experiment.tags)
    if "mlflow.note.content" not in experiment.tags:
        store.client.set_experiment_tag(store.experiment_id, "mlflow.note.content", BANNER)


def _write(store: Store, tags: dict[str, str]) -> None:
    encoded = encode(view_state())
    if TAG + KEY in tags and json.loads(tags[TAG + KEY]).get("state") == encoded:
        return
    now = int(time.time() * 1000)
    value = json.dumps({"name": NAME, "createdAt": now, "updatedAt": now, "state": encoded})
    store.client.set_experiment_tag(store.experiment_id, TAG + KEY, value)


def encode(state: dict[str, Any]) -> str:
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state, sort_keys=True).encode(), 9)).decode()


def decode(text: str) -> dict[str, Any]:
    return dict(json.loads(zlib.decompress(base64.b64decode(text.removeprefix("deflate;")))))


def view_state() -> dict[str, Any]:
    """The page's state: which runs, which columns, which charts."""
    columns = [f"metrics.`eval/{name}`" for name in COLUMN_METRICS] + [f"params.`{name}`" for name in COLUMN_PARAMETERS]
    sections = [_section("eval", "Held-out"), _section("train", "Training")]
    charts = [_bar(f"eval-{name}", "eval", f"eval/{name}") for name in HEADLINE]
    charts += [_line(f"train-{name.partition('/')[2]}", "train", name) for name in CURVES[:8]]
    return {
        "searchFilter": "tags.`run.kind` = 'pipeline'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsHiddenMode": "FIRST_10_RUNS",
        "runsVisibilityMap": {},
        "viewMaximized": False,
        "runListHidden": False,
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _section(identity: str, name: str) -> dict[str, Any]:
    return {
        "uuid": identity,
        "name": name,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _bar(identity: str, section: str, metric: str) -> dict[str, Any]:
    return {**_card(identity, section, metric), "type": "BAR", "runsCountToCompare": 20}


def _line(identity: str, section: str, metric: str) -> dict[str, Any]:
    return {
        **_card(identity, section, metric),
        "type": "LINE",
        "runsCountToCompare": 10,
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "selectedXAxisMetricKey": "",
        "selectedYAxisMetricKey": "metric",
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _card(identity: str, section: str, metric: str) -> dict[str, Any]:
    return {
        "uuid": identity,
        "metricSectionId": section,
        "metricKey": metric,
        "displayName": metric,
        "deleted": False,
        "isGenerated": False,
    }


def charts_url(base: str, experiment_id: str, run_ids: Sequence[str] = ()) -> str:
    """The page with the charts of these runs, or of all in the saved view.

    `workflowType` leaves the GenAI mode in which MLflow opens. A filter in the address puts the saved view out of
    force, so a choice of runs comes with MLflow's own arrangement of the same charts.
    """
    query = {"workflowType": "machine_learning", "compareRunsMode": "CHART"}
    if run_ids:
        query["searchFilter"] = "attributes.run_id IN ({})".format(", ".join(f"'{run_id}'" for run_id in run_ids))
    else:
        query["viewStateShareKey"] = KEY
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{urllib.parse.urlencode(query)}"


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """The page of one run."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def table_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """MLflow's comparison of runs as tables: parameters that differ, metrics side by side; it has no curves."""
    query = {"runs": json.dumps(list(run_ids)), "experiments": json.dumps([experiment_id])}
    return f"{base.rstrip('/')}/#/compare-runs?{urllib.parse.urlencode(query)}"
