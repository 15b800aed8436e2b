"""Why a task on a cluster failed, where it could not say so itself; and logs, wherever they still are.

The API names no reasons. The pod's status says what Kubernetes did to it, its log what it printed last; a log outlives its pod
in the API's archive, and in the bucket if the launcher could still upload it. A driver or an importer that fails is no step of
ours: the run then ends before the step that it was to start.
"""

import re
from typing import Any

from preflow.errors import BucketError
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.pods_of import PodView
from preflow_pipelines.runners.folder import RunFolder

LOG, DRIVER = "executor-logs", "-driver"
LAST_LINES = 3
NOT_THE_STEPS = re.compile(r"[IWEF]\d{4} \d\d:|Error: exit status|.*\bsub-process exited\b")
"""What launcher and executor print when the step is over."""


def pods_of_task(folder: RunFolder, task: str, connection: Connection) -> list[PodView]:
    """The pods of a task, or of its driver if it has none, oldest first; [] if Kubernetes does not answer, or does not let us see them."""
    where = folder.cluster
    assert where is not None
    try:
        pods = connection.pods.of_run(where["kfp_run"])
        return [pod for pod in pods if pod.task == task] or [pod for pod in pods if pod.task == f"{task}{DRIVER}"]
    except Exception:  # the client raises many kinds, and a reason is a comfort, not a need
        return []


def task_log(folder: RunFolder, task: str, connection: Connection, tail: int | None = None) -> str | None:
    """What a task printed in its last try; None if nobody has it (any more)."""
    where = folder.cluster
    assert where is not None
    pods = pods_of_task(folder, task, connection)
    if pods:
        try:
            return connection.pods.log(pods[-1].name, tail)
        except Exception:
            archived = connection.api.log(where["kfp_run"], pods[-1].name)
            if archived is not None:
                return archived
    return _uploaded_log(folder, task, connection)


def _uploaded_log(folder: RunFolder, task: str, connection: Connection) -> str | None:
    where = folder.cluster
    assert where is not None
    prefix = f"artifacts/{where['pipeline']}/{where['kfp_run']}/{task}"
    try:
        logs = [entry for entry in connection.bucket.entries(prefix) if LOG in entry.name]
        content = connection.bucket.read(max(logs, key=lambda entry: entry.modified).name) if logs else None
    except BucketError:
        return None
    return content.decode("utf-8", "replace") if content is not None else None


def last_words(log: str) -> str:
    """The last lines of a step's log that are its own; of a log without any, the last ones."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if not NOT_THE_STEPS.match(line)]
    return " | ".join((own or lines)[-LAST_LINES:])


def why_it_failed(folder: RunFolder, task: str, connection: Connection) -> dict[str, Any]:
    """An error as records keep it, of a task that left none."""
    return _error("Killed", f"{_what_is_known(folder, task, connection)}. Its log: preflow logs {folder.id} {task}")


def why_none_failed(folder: RunFolder, node: str | None, connection: Connection) -> dict[str, Any]:
    """The error of a run that failed although no step of ours did: at a driver or an importer, if the API names one."""
    what = _what_is_known(folder, node, connection) if node else "Kubeflow Pipelines says that it failed, and not where"
    return _error("NotStarted", what) | {"log": (folder.cluster or {}).get("url", "")}


def _what_is_known(folder: RunFolder, task: str, connection: Connection) -> str:
    pods = pods_of_task(folder, task, connection)
    last = last_words(task_log(folder, task, connection, tail=50) or "")
    found = (pods[-1].waiting or pods[-1].ended) if pods else None
    reason = found or ("it ended without a word" if not last else "")
    return f"{task}: " + "; ".join(part for part in (reason, last) if part).rstrip(".")


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "user": False, "message": message, "problems": []}
