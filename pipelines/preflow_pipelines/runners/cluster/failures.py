"""Why a task on a cluster failed, where it could not say so itself; and logs, wherever they still are.

The API names no reasons. The pod's status says what Kubernetes did to it, its log what it printed last; a log outlives its pod
in the API's archive, and in the bucket if the launcher could still upload it.
"""

from typing import Any

from preflow.errors import BucketError
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.pods_of import PodView
from preflow_pipelines.runners.folder import RunFolder

LOG = "executor-logs"
LAST_LINES = 3


def pods_of_task(folder: RunFolder, task: str, connection: Connection) -> list[PodView]:
    """The pods of a task, oldest first; [] if Kubernetes does not answer, or does not let us see them."""
    where = folder.cluster
    assert where is not None
    try:
        return [pod for pod in connection.pods.of_run(where["kfp_run"]) if pod.task == task]
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


def why_it_failed(folder: RunFolder, task: str, connection: Connection) -> dict[str, Any]:
    """An error as records keep it, of a task that left none."""
    pods = pods_of_task(folder, task, connection)
    log = (task_log(folder, task, connection, tail=50) or "").strip().splitlines()
    last = " | ".join(log[-LAST_LINES:])
    found = (pods[-1].waiting or pods[-1].ended) if pods else None
    reason = found or ("it ended without a word" if not last else "")
    message = f"{task}: " + "; ".join(part for part in (reason, last) if part)
    return {
        "type": "Killed",
        "user": False,
        "message": f"{message}. Its log: preflow logs {folder.id} {task}",
        "problems": [],
    }
