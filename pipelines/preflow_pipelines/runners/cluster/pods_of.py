"""The pods of a run as Kubernetes shows them: which task each does, why one waits, what it printed."""

import re
from dataclasses import dataclass
from typing import Any

from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.access import kubernetes

RUN_LABEL = "pipeline/runid"
TASK_VARIABLE = "PREFLOW_TASK"
NODE = "workflows.argoproj.io/node-name"
"""Argo's name of what a pod does: after the last dot a driver's name or an importer's, perhaps with the number of its try."""
MAIN = "main"


@dataclass(frozen=True)
class PodView:
    """A pod of a task of ours, of a driver or an importer. `waiting`: why it does not run yet; `ended`: why its container stopped, e.g. OOMKilled."""

    name: str
    task: str
    phase: str
    created: float
    waiting: str | None
    ended: str | None


class Pods:
    """What needs the Kubernetes API; a user without the right to it goes without, and is told so once by the caller."""

    def __init__(self, profile: ClusterProfile):
        self.namespace, self.core = profile.namespace, kubernetes(profile)

    def of_run(self, run: str) -> list[PodView]:
        """Oldest first."""
        found = self.core.list_namespaced_pod(self.namespace, label_selector=f"{RUN_LABEL}={run}", _request_timeout=20)
        return sorted((_view(pod) for pod in found.items), key=lambda view: view.created)

    def log(self, pod: str, tail: int | None = None) -> str:
        """What the task printed. Raises the client's error if the pod is gone."""
        text = self.core.read_namespaced_pod_log(
            pod, self.namespace, container=MAIN, tail_lines=tail, _request_timeout=30, _preload_content=False
        )
        return bytes(text.data).decode("utf-8", "replace")


def _view(pod: Any) -> PodView:
    main = next((each for each in pod.spec.containers if each.name == MAIN), None)
    task = next((each.value for each in (main.env or []) if each.name == TASK_VARIABLE), None) if main else None
    node = re.sub(r"\(\d+\)$", "", (pod.metadata.annotations or {}).get(NODE, "")).rpartition(".")[2]
    status = next((each for each in pod.status.container_statuses or [] if each.name == MAIN), None)
    return PodView(
        pod.metadata.name,
        task or node,
        pod.status.phase,
        pod.metadata.creation_timestamp.timestamp(),
        _waiting(pod, status),
        _ended(pod, status),
    )


def _waiting(pod: Any, status: Any) -> str | None:
    if pod.status.phase != "Pending":
        return None
    state = status.state.waiting if status and status.state else None
    if state and state.reason not in (None, "PodInitializing", "ContainerCreating"):
        return f"{state.reason}: {state.message}" if state.message else str(state.reason)
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {condition.message}"
    return None


def _ended(pod: Any, status: Any) -> str | None:
    """What the task itself could not say: killed for memory, evicted, lost with its node."""
    if pod.status.reason:  # Evicted, NodeLost, DeadlineExceeded
        return f"{pod.status.reason}: {pod.status.message or ''}".rstrip(": ")
    over = status.state.terminated if status and status.state else None
    if over and over.reason == "OOMKilled":
        return "OOMKilled: it needed more memory than its limit. Raise `memory` in the hardware profile."
    return f"exit code {over.exit_code}" if over and over.exit_code else None
