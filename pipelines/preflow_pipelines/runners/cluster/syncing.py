"""A cluster run's folder on this machine, brought up to date from the API and the bucket. Repeating it changes nothing.

The API tells the states of tasks and nothing of their results; the pods wrote those into the bucket. A task that succeeded
and left no record of its own there was taken from the cache.
"""

import time
from typing import Any

from preflow.artifacts.bucket import Bucket
from preflow.artifacts.files import write_json
from preflow.errors import ClusterError
from preflow.tracking.from_bucket import fetch_outputs, fetch_run, record_of_killed, settle_reused
from preflow_pipelines.runners.cluster.api import RunState, TaskState
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.failures import why_it_failed
from preflow_pipelines.runners.folder import RunFolder

END = "end.json"
GONE = RunState("CANCELLED", None, {}, {})
DELETED = {"type": "Deleted", "user": True, "message": "the run was deleted in Kubeflow Pipelines", "problems": []}


def sync_run(folder: RunFolder, connection: Connection) -> RunState:
    """Fetch what is new; once the run is over, say so in end.json, here and in the bucket. Returns its state."""
    where = folder.cluster
    assert where is not None, "not a run on a cluster"
    state = _state(connection, where["kfp_run"])
    bucket = connection.bucket
    fetch_run(bucket, folder.id, folder.path)
    _settle(folder, bucket, state)
    if state.over:
        _settle_failures(folder, connection, state)
    fetch_outputs(bucket, folder.path)
    if state.over and folder.read(END) is None:
        end = {
            "state": state.over,
            "error": _error(folder) or (DELETED if state == GONE else None),
            "ended": state.ended or time.time(),
        }
        folder.write(END, end)
        bucket.write_json(f"runs/{folder.id}/{END}", end)
    return state


def _state(connection: Connection, run: str) -> RunState:
    try:
        return connection.api.state(run)
    except ClusterError as error:
        if error.status == 404:
            return GONE
        raise


def _settle(folder: RunFolder, bucket: Bucket, state: RunState) -> None:
    """Records of the tasks that were reused."""
    reused = {}
    for name in folder.about["order"]:
        task = state.tasks.get(name)
        if task and task.state == "SUCCEEDED" and folder.record(name) is None:
            reused[name] = (task.started or 0.0, task.ended or task.started or 0.0)
    settle_reused(bucket, folder.path, reused)


def _settle_failures(folder: RunFolder, connection: Connection, state: RunState) -> None:
    """Records of the tasks that failed and could not say why: the reason is in their pod, or in their log."""
    for name in folder.about["order"]:
        task = state.tasks.get(name)
        record = folder.record(name)
        if task is None or task.state != "FAILED" or (record and record["state"] == "FAILED"):
            continue
        error = why_it_failed(folder, name, connection)
        if state.over == "CANCELLED":
            error |= {"type": "Stopped", "message": "cancelled"}
        killed = record_of_killed(name, folder.about["tasks"][name], error)
        write_json(folder.step_file(name, "record.json"), killed | _times(task), indent=1)


def _times(task: TaskState) -> dict[str, float]:
    started, ended = task.started or time.time(), task.ended or time.time()
    return {"started": started, "ended": ended, "seconds": round(ended - started, 3)}


def _error(folder: RunFolder) -> dict[str, Any] | None:
    """The error of the first task that failed."""
    failed = (record for record in folder.records() if record["state"] == "FAILED")
    return next((record["error"] for record in failed), None)


def forget_end(folder: RunFolder, bucket: Bucket) -> None:
    """Before a retry: the run is not over, and what failed has not failed yet."""
    names = [END, *(f"steps/{each['task']}.record.json" for each in folder.records() if each["state"] == "FAILED")]
    for name in names:
        bucket.delete(f"runs/{folder.id}/{name}")
        (folder.path / name).unlink(missing_ok=True)
