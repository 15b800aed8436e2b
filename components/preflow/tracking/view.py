"""The saved view that printed links open: headline metrics as columns and bars, the curves of all runs in one chart each.

MLflow keeps saved views as experiment tags. The feature is MLflow's, the format is not documented: it stands in this
module alone, written best-effort, tested against the pinned version.
"""

import base64
import hashlib
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
    "Runs of **preflow**: a parent per pipeline run, a child per step. Compare parents: they carry the headline metrics "
    "(`eval/`), the training curves (`train/`), samples side by side (artifact view: `samples.json`), datasets and models. "
    "The view *Compare runs* shows them all."
)


def provide_view(store: Store) -> None:
    """Write the view and the experiment's banner where they are missing or from another version."""
    experiment = store.client.get_experiment(store.experiment_id)
    _write(store, experiment.tags, KEY, NAME, view_state())
    if "mlflow.note.content" not in experiment.tags:
        store.client.set_experiment_tag(store.experiment_id, "mlflow.note.content", BANNER)


def _write(store: Store, tags: dict[str, str], key: str, name: str, state: dict[str, Any]) -> None:
    encoded = encode(state)
    if TAG + key in tags and json.loads(tags[TAG + key]).get("state") == encoded:
        return
    now = int(time.time() * 1000)
    value = json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": encoded})
    store.client.set_experiment_tag(store.experiment_id, TAG + key, value)


def encode(state: dict[str, Any]) -> str:
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state, sort_keys=True).encode(), 9)).decode()


def decode(text: str) -> dict[str, Any]:
    return dict(json.loads(zlib.decompress(base64.b64decode(text.removeprefix("deflate;")))))


def view_state(search: str = "tags.`run.kind` = 'pipeline'") -> dict[str, Any]:
    """The page's state: which runs, which columns, which charts."""
    columns = [f"metrics.`eval/{name}`" for name in COLUMN_METRICS] + [f"params.`{name}`" for name in COLUMN_PARAMETERS]
    sections = [_section("eval", "Held-out"), _section("train", "Training")]
    charts = [_bar(f"eval-{name}", "eval", f"eval/{name}") for name in HEADLINE]
    charts += [_line(f"train-{name.partition('/')[2]}", "train", name) for name in CURVES[:8]]
    return {
        "searchFilter": search,
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
    return {"uuid": identity, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}


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


def provide_comparison(store: Store, run_ids: Sequence[str]) -> str:
    """A view of these runs alone; its key."""
    key = f"{KEY}-{hashlib.sha256(' '.join(sorted(run_ids)).encode()).hexdigest()[:12]}"
    chosen = ", ".join(f"'{run_id}'" for run_id in run_ids)
    experiment = store.client.get_experiment(store.experiment_id)
    _write(store, experiment.tags, key, f"{len(run_ids)} runs", view_state(f"attributes.run_id IN ({chosen})"))
    return key


def charts_url(base: str, experiment_id: str, key: str = KEY) -> str:
    """The page with the runs' charts. `workflowType` leaves the GenAI mode in which MLflow opens."""
    query = {"workflowType": "machine_learning", "compareRunsMode": "CHART", "viewStateShareKey": key}
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{urllib.parse.urlencode(query)}"


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """The page of one run."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def compare_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """MLflow's own comparison of runs: parameters that differ, metrics side by side."""
    query = {"runs": json.dumps(list(run_ids)), "experiments": json.dumps([experiment_id])}
    return f"{base.rstrip('/')}/#/compare-runs?{urllib.parse.urlencode(query)}"
