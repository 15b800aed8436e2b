"""Looking on while a run goes on a cluster: the same table as for a run here. Nothing of the run depends on it."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflow.errors import BucketError, ClusterError
from preflow_pipelines.runners.cluster.api import RunState
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.syncing import sync_run
from preflow_pipelines.runners.folder import RunFolder, ended_as
from preflow_pipelines.runners.inputs import StagedInput
from preflow_pipelines.runners.recording import with_users_names
from preflow_pipelines.runners.results import Observer, RunResult, result_of

POLL_SECONDS, LONGEST_SECONDS = 2.0, 60.0
WAITS_EVERY = 5  # polls between two questions to Kubernetes
FINISHED = ("EXECUTED", "CACHED", "FAILED", "STOPPED")


class Watch:
    """Reports each change of a run once."""

    def __init__(self, folder: RunFolder, connection: Connection, observer: Observer):
        self.folder, self.connection, self.observer = folder, connection, observer
        self.seen: dict[str, str] = {}
        self._polls = 0

    def until_over(self) -> RunResult:
        """A lost connection is said once, and waited for."""
        wait, lost = POLL_SECONDS, False
        while True:
            try:
                state = sync_run(self.folder, self.connection)
                if lost:
                    self.observer.message("the cluster answers again")
                wait, lost = POLL_SECONDS, False
            except (ClusterError, BucketError) as error:
                if not lost:
                    self.observer.message(f"{error} The run goes on; waiting for an answer (Ctrl-C leaves it alone).")
                if isinstance(
                    error, ClusterError
                ):  # a session lasts some hours; a proxy then answers with 401, 403 or a page
                    self.connection.sign_in_again()
                wait, lost = min(wait * 2, LONGEST_SECONDS), True
                time.sleep(wait)
                continue
            self.report(state)
            if state.over:
                return self.result()
            time.sleep(wait)

    def report(self, state: RunState) -> None:
        """What changed since the last time."""
        reasons = self._reasons() if self._polls % WAITS_EVERY == 0 else {}
        self._polls += 1
        for task in self.folder.about["order"]:
            record, shown = self.folder.record(task), state.tasks.get(task)
            done = record is not None and (state.over or (shown and shown.state in ("SUCCEEDED", "FAILED")))
            if record and done:
                if self.seen.get(task) not in FINISHED:
                    self.seen[task] = ended_as(record)
                    self.observer.finished(task, self.seen[task], record["seconds"])
            elif shown and shown.state in ("RUNNING", "PENDING"):
                if task not in self.seen:
                    self.observer.started(task)
                    self.seen[task] = "RUNNING"
                progress = self.folder.read(f"steps/{task}.progress.json")
                if progress or reasons.get(task):
                    self.observer.progress(task, progress or {"note": reasons[task]})

    def _reasons(self) -> Mapping[str, str]:
        """Why tasks wait, as Kubernetes says: no node, no image."""
        with contextlib.suppress(Exception):  # a comfort; its client raises many kinds
            pods = self.connection.pods.of_run((self.folder.cluster or {})["kfp_run"])
            return {pod.task: pod.waiting for pod in pods if pod.waiting}
        return {}

    def result(self) -> RunResult:
        """The result of a run that is over; messages name the user's own files."""
        end: dict[str, Any] = self.folder.read("end.json") or {"state": "FAILED", "error": None}
        error = end["error"] and with_users_names(end["error"], self._inputs_in_pods())
        return result_of(self.folder, end["state"], self.folder.about["order"], error, self.observer)

    def _inputs_in_pods(self) -> dict[str, StagedInput]:
        """The inputs where the launcher puts them in a pod: /<scheme>/<bucket>/<key>."""
        about = self.folder.about
        found = {}
        for name, staged in about["inputs"].items():
            if not staged["uri"]:  # fetched by a step
                continue
            scheme, _, place = about["arguments"][f"{name}_uri"].partition("://")
            found[name] = StagedInput(str(Path("/") / scheme / place), staged["digest"], staged["files"])
        return found
