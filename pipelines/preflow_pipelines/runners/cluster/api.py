"""The run API of Kubeflow Pipelines: no more of it than a submitted run needs."""

import contextlib
import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from preflow.errors import ClusterError
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.access import explained, kfp_client

OVER = {"SUCCEEDED": "SUCCEEDED", "FAILED": "FAILED", "CANCELED": "CANCELLED", "SKIPPED": "SUCCEEDED"}
TRIES = "("


@dataclass(frozen=True)
class TaskState:
    """A task, importer or driver as the API shows it: PENDING, RUNNING, SUCCEEDED, FAILED, SKIPPED; times in seconds (epoch)."""

    name: str
    state: str
    started: float | None
    ended: float | None


@dataclass(frozen=True)
class RunState:
    """`over` is SUCCEEDED, FAILED or CANCELLED, or None while the run goes on."""

    over: str | None
    ended: float | None
    tasks: dict[str, TaskState]
    mlflow: dict[str, str]


class Api:
    """Calls raise ClusterError with what was found and what to do."""

    def __init__(self, profile: ClusterProfile):
        self.profile = profile
        self.client = kfp_client(profile)

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(self.profile, doing)

    def _namespace(self) -> str | None:
        """As the API wants it named: not at all where it has one user."""
        return self.profile.namespace if self.client.get_kfp_healthz().multi_user else None

    def create_run(self, package: Path, arguments: Mapping[str, str], *, name: str, experiment: str, root: str) -> str:
        """The id of a new run of a compiled pipeline."""
        with self._explained("creating the run"), contextlib.redirect_stdout(io.StringIO()):  # kfp prints its own links
            made = self.client.create_experiment(experiment, namespace=self._namespace())
            found = self.client.run_pipeline(
                made.experiment_id,
                name,
                str(package),
                params=dict(arguments),
                pipeline_root=root,
                service_account=self.profile.service_account,
            )
        return str(found.run_id)

    def find_run(self, name: str) -> str | None:
        """The id of a run by the name it was given; None if none of the latest has it."""
        with self._explained(f"looking for run {name}"):
            found = self.client.list_runs(page_size=50, sort_by="created_at desc", namespace=self._namespace()).runs
        return next((str(each.run_id) for each in found or [] if each.display_name == name), None)

    def run_url(self, run: str) -> str:
        """The run's page in the web interface."""
        if not self.profile.api:  # reached through the Kubernetes API, which shows no pages
            return f"run {run} (kubectl -n {self.profile.namespace} port-forward svc/ml-pipeline-ui 8080:80)"
        return f"{self.profile.api.rstrip('/')}/#/runs/details/{run}"

    def state(self, run: str) -> RunState:
        """How far a run is. Names of nodes are those of Argo: a task X, its driver X-driver, and its tries X(0), X(1), ..."""
        with self._explained(f"asking for run {run}"):
            found = self.client.get_run(run)
        details = (found.run_details.task_details if found.run_details else None) or []
        tasks = {}
        for each in details:
            name = each.display_name
            if name and each.state and TRIES not in name:
                tasks[name] = TaskState(name, str(each.state), _seconds(each.start_time), _seconds(each.end_time))
        over = OVER.get(str(found.state))
        return RunState(over, _seconds(found.finished_at), tasks, _plugin(found))

    def retry(self, run: str) -> None:
        """Continue a failed run: what succeeded is not done again."""
        with self._explained(f"retrying run {run}"):
            self._runs().run_service_retry_run(run_id=run)

    def cancel(self, run: str) -> None:
        with self._explained(f"cancelling run {run}"):
            self.client.terminate_run(run)

    def log(self, run: str, pod: str) -> str | None:
        """The log of a pod as the API keeps it, also after the pod is gone where it is archived; None if there is none."""
        caller = self.client._run_api.api_client
        try:
            answer = caller.call_api(
                f"/apis/v1alpha1/runs/{run}/nodes/{pod}/log",
                "GET",
                auth_settings=["Bearer"],
                _preload_content=False,
                _return_http_data_only=True,
            )
        except Exception:  # the client raises many kinds, and a log is a comfort
            return None
        text = bytes(answer.data).decode("utf-8", "replace")
        return None if text.startswith('{"error') else text  # an error has status 200, too

    def _runs(self) -> Any:
        import kfp_server_api

        return kfp_server_api.RunServiceApi(self.client._run_api.api_client)


def _seconds(when: datetime | None) -> float | None:
    return when.timestamp() if when else None


def _plugin(run: Any) -> dict[str, str]:
    """Where KFP's own MLflow plugin records the run; {} without it."""
    found = (getattr(run, "plugins_output", None) or {}).get("mlflow")
    entries = getattr(found, "entries", None) or {}
    return {name: str(getattr(entry, "value", entry)) for name, entry in entries.items()}


def refuse_unfinished(state: RunState, run: str) -> None:
    """Raises ClusterError for a run that did not fail: there is nothing to retry."""
    if state.over == "SUCCEEDED":
        raise ClusterError(f"run {run}: succeeded. Expected a run that failed. To do a step again: preflow rerun")
    if state.over is None:
        raise ClusterError(f"run {run}: is still going on. Expected a run that failed. Look on: preflow watch {run}")
