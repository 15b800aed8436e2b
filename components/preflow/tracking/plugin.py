"""Runs that Kubeflow Pipelines' own MLflow plugin opened: one for a pipeline's run, below it one for each task.

They are taken over: they get our tags, parameters, metrics and names (a chart's legend must tell runs apart, and the plugin
finds its runs by their ids). They are never ended by us: the backend does that, also for a pod that was killed.
"""

import os
from collections.abc import Mapping
from typing import Any

KFP_RUN, PARENT, NAME = "kfp.pipeline_run_id", "mlflow.parentRunId", "mlflow.runName"
TASK, TAKEN, SUPERSEDED = "preflow.step", "preflow.taken_over", "step.superseded"
OLDEST_FIRST = ["attributes.start_time ASC", "attributes.run_id ASC"]
AT_ONCE = 100  # experiments per search


def plugin_parent(client: Any, kfp_run: str) -> Any | None:
    """The run that the plugin opened for a pipeline's run, in whatever experiment; None without the plugin."""
    experiments = [each.experiment_id for each in _experiments(client)]
    for start in range(0, len(experiments), AT_ONCE):
        found = client.search_runs(
            experiments[start : start + AT_ONCE],
            f"tags.`{KFP_RUN}` = '{kfp_run}'",
            order_by=OLDEST_FIRST,
            max_results=1,
        )
        if found:
            return found[0]
    return None


def plugin_child(client: Any, experiment_id: str, parent: str, task: str) -> Any | None:
    """The run that the plugin opened for a task's latest execution; those of earlier ones are told to be superseded."""
    nested = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{parent}'", max_results=1000)
    found = [run for run in nested if _is_of(run, task)]
    if not found:
        return None
    latest = max(found, key=lambda run: (run.info.start_time, run.info.run_id))
    for run in found:
        if run is not latest and TASK in run.data.tags:
            client.set_tag(run.info.run_id, SUPERSEDED, "true")
            client.delete_tag(run.info.run_id, TASK)
    return latest


def _is_of(run: Any, task: str) -> bool:
    """Whether the plugin opened this run for the task: by its name, by this pod's own run, or as taken over before."""
    tags: Mapping[str, str] = run.data.tags
    if SUPERSEDED in tags:
        return False
    if TASK in tags:
        return TAKEN in tags and tags[TASK] == task
    own = os.environ.get("MLFLOW_RUN_ID") if os.environ.get("PREFLOW_TASK") == task else None
    return run.info.run_name == task or run.info.run_id == own


def _experiments(client: Any) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = client.search_experiments(max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
