"""Runs as they lie in a bucket: what submit and the pods write there, without a pod."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fake_runs import FakeRun
from preflow.artifacts.bucket import Bucket

NEEDS = {
    "reference-logps": {"data": ("import-data", "data")},
    "train-preference": {"data": ("import-data", "data"), "logps": ("reference-logps", "logps")},
    "evaluate": {"policy": ("train-preference", "trained"), "heldout": ("import-data", "heldout")},
    "report": {"evaluate_journal": ("evaluate", "journal")},
}
TASKS = ("import-data", *NEEDS)
SPEC: dict[str, Any] = {
    "root": {
        "dag": {
            "tasks": {
                task: {
                    "componentRef": {"name": f"comp-{task}"},
                    "inputs": {
                        "artifacts": {
                            name: {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": output}}
                            for name, (producer, output) in NEEDS.get(task, {}).items()
                        }
                    },
                }
                for task in TASKS
            }
        }
    },
    "components": {f"comp-{task}": {"executorLabel": f"exec-{task}"} for task in TASKS},
    "deploymentSpec": {"executors": {}},
}


def kfp_id(run: str) -> str:
    """What Kubeflow Pipelines calls a run of ours, here."""
    return f"kfp-{run}"


class ClusterRun:
    """A dpo run in the bucket. `local` is the same run on one machine: what tasks put out is uploaded from there."""

    def __init__(self, home: Path, identity: str, bucket: Bucket, beta: float = 0.1, **about: Any):
        self.bucket, self.id = bucket, identity
        self.local = FakeRun(home, identity, beta=beta, **about)
        described = self.local.about
        described["order"] = list(described["tasks"])
        for task, planned in described["tasks"].items():
            planned["lineage"] = hashlib.sha256(f"{task} {beta if task in TASKS[2:] else ''}".encode()).hexdigest()[:32]
        self.local.begin()
        self.write("run.json", described)
        self.write("pipeline.json", SPEC)
        where = {"kfp_run": kfp_id(identity), "bucket": bucket.uri, "url": f"http://kfp.test/#/runs/details/{identity}"}
        where |= {"pipeline": "preflow", "context": "lab"}
        self.write("cluster.json", where)

    def write(self, name: str, value: Any) -> None:
        self.bucket.write_json(f"runs/{self.id}/{name}", value)

    def executed(self, task: str) -> None:
        """A pod did the task."""
        self.local.executed(task)
        self._record(task)

    def reused(self, task: str, other: "ClusterRun") -> None:
        """The cluster's cache had it: no pod, so nothing is written."""
        self.local.cached(task, other.local)
        self.local.produced[task] = other.local.produced[task]

    def failed(self, task: str, error: dict[str, Any]) -> None:
        self.local.failed(task, error)
        self._record(task)

    def whole(self) -> "ClusterRun":
        for task in TASKS:
            self.executed(task)
        return self

    def _record(self, task: str) -> None:
        record = json.loads((self.local.folder / "steps" / f"{task}.record.json").read_text())
        for place in record["outputs"].values():
            path = Path(place)
            if not path.exists():
                path.write_text(f"rows of {place}")
            self.bucket.upload(path, self.bucket.name_of(self.uri(place)))
        record["outputs"] = {name: self.uri(place) for name, place in record["outputs"].items()}
        record["arguments"] = {
            name: self.uri(value) if value.startswith("/") else value for name, value in record["arguments"].items()
        }
        self.write(f"steps/{task}.record.json", record)
        status = json.loads((self.local.folder / "steps" / f"{task}.step.json").read_text())
        self.write(f"steps/{task}.step.json", status)
        if record["state"] == "EXECUTED":
            self.bucket.write_json(f"steps/{self.local.about['tasks'][task]['lineage']}.json", record)

    def uri(self, place: str) -> str:
        """Where an output lies, as its pod says it."""
        relative = Path(place).relative_to(self.local.home / "runs")
        return self.bucket.uri_of(f"artifacts/preflow/{kfp_id(relative.parts[0])}/{'/'.join(relative.parts[3:])}")

    def environment(self, uri: str, task: str = "track") -> dict[str, str]:
        """What the cluster tells a pod of the run."""
        return {
            "PREFLOW_RUN_ID": self.id,
            "PREFLOW_KFP_RUN_ID": kfp_id(self.id),
            "PREFLOW_TASK": task,
            "PREFLOW_BUCKET": self.bucket.uri,
            "PREFLOW_BUCKET_ENDPOINT": self.bucket.endpoint or "",
            "PREFLOW_TRACKING_URI": uri,
            "PREFLOW_POD_FOLDER": str(self.local.home / f"pod-{self.id}-{task}" / "run"),
        }


class Plugin:
    """What Kubeflow Pipelines' own MLflow plugin does over REST: a run per pipeline run, one below it per task."""

    def __init__(self, client: Any, experiment: str, run: str):
        self.client = client
        found = client.get_experiment_by_name(experiment)
        self.experiment = found.experiment_id if found else client.create_experiment(experiment)
        tags = {"kfp.pipeline_run_id": kfp_id(run), "kfp.pipeline_run_url": ""}
        self.root = client.create_run(self.experiment, run_name=f"dpo-{run}", tags=tags).info.run_id

    def begin(self, task: str) -> str:
        """The driver, also for a task that is in the cache."""
        tags = {"mlflow.parentRunId": self.root}
        return str(self.client.create_run(self.experiment, run_name=task, tags=tags).info.run_id)

    def end(self, run: str, status: str = "FINISHED") -> None:
        """The launcher: input parameters as JSON under their own names, then the end."""
        self.client.log_param(run, "settings", json.dumps("{}"))
        self.client.set_terminated(run, status)
