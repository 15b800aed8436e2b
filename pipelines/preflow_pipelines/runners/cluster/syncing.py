"""A cluster run's folder on this machine, brought up to date from the API and the bucket. Repeating it changes nothing.

The API tells the states of tasks and nothing of their results; the pods wrote those into the bucket. A task that succeeded
and left no record of its own there was taken from the cache.
"""

import time
from dataclasses import replace
from typing import Any

from preflow.artifacts.bucket import Bucket
from preflow.artifacts.files import write_json
from preflow.errors import ClusterError
from preflow.tracking.from_bucket import fetch_outputs, fetch_run, record_of_killed, settle_reused
from preflow_pipelines.runners.cluster.api import RunState, TaskState
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.failures import DRIVER, why_it_failed, why_none_failed
from preflow_pipelines.runners.folder import RunFolder

END, CANCEL = "end.json", "cancel.json"
SETTLE_SECONDS, SETTLE_LOOKS = 2.0, 8
"""The API stores a run's end a moment before that of its tasks."""
GONE = RunState("CANCELLED", None, {}, {})
DELETED = {"type": "Deleted", "user": True, "message": "the run was deleted in Kubeflow Pipelines", "problems": []}


def sync_run(folder: RunFolder, connection: Connection) -> RunState:
    """Fetch what is new; once the run is over, say so in end.json, here and in the bucket. Returns its state."""
    where = folder.cluster
    assert where is not None, "not a run on a cluster"
    state = _settled(folder, connection, where["kfp_run"])
    bucket = connection.bucket
    fetch_run(bucket, folder.id, folder.path)
    if state.over == "FAILED" and folder.read(CANCEL):  # the API calls what was terminated failed
        state = replace(state, over="CANCELLED")
    _settle(folder, bucket, state)
    if state.over:
        _settle_failures(folder, connection, state)
    fetch_outputs(bucket, folder.path)
    if state.over and folder.read(END) is None:
        end = {
            "state": state.over,
            "error": _error(folder, state, connection),
            "ended": state.ended or time.time(),
        }
        folder.write(END, end)
        bucket.write_json(f"runs/{folder.id}/{END}", end)
    return state


def _settled(folder: RunFolder, connection: Connection, run: str) -> RunState:
    """The state of a run; of one that is over when its tasks are over too, or after a while."""
    order = (folder.read("run.json") or {}).get("order", ())
    for _ in range(SETTLE_LOOKS):
        state = _state(connection, run)
        going = [task for task in order if task in state.tasks and state.tasks[task].state in ("RUNNING", "PENDING")]
        if not (state.over and going):
            break
        time.sleep(SETTLE_SECONDS)
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


def _error(folder: RunFolder, state: RunState, connection: Connection) -> dict[str, Any] | None:
    """The error of the first task that failed, or what else is known."""
    failed = [record["error"] for record in folder.records() if record["state"] == "FAILED"]
    if failed or state.over == "SUCCEEDED":
        return failed[0] if failed else None
    if state.over == "CANCELLED":
        return DELETED if state == GONE else None
    spec = folder.read("pipeline.json")
    assert spec is not None
    nodes = (name for name, task in state.tasks.items() if task.state == "FAILED" and name != "root")
    named = {"root", *spec["root"]["dag"]["tasks"]}
    return why_none_failed(
        folder, next((name for name in nodes if name.removesuffix(DRIVER) in named), None), connection
    )


def say_cancelled(folder: RunFolder, bucket: Bucket) -> None:
    """After the API was told to stop the run: it will call it failed."""
    mark = {"asked": time.time()}
    folder.write(CANCEL, mark)
    bucket.write_json(f"runs/{folder.id}/{CANCEL}", mark)


def forget_end(folder: RunFolder, bucket: Bucket) -> None:
    """Before a retry: the run is not over, and what failed has not failed yet."""
    names = [
        END,
        CANCEL,
        *(f"steps/{each['task']}.record.json" for each in folder.records() if each["state"] == "FAILED"),
    ]
    for name in names:
        bucket.delete(f"runs/{folder.id}/{name}")
        (folder.path / name).unlink(missing_ok=True)
