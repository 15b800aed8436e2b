"""After the workflows that one group of tests ran: none of the secrets that pods were given is anywhere but in Kubernetes' secrets."""

import os

import pytest

from cluster.lab import Lab

pytestmark = pytest.mark.cluster


def test_no_secret_is_anywhere(lab: Lab) -> None:
    hidden = [secret.encode() for secret in (lab.token, os.environ["AWS_SECRET_ACCESS_KEY"])]
    places: dict[str, bytes] = {}
    for entry in lab.bucket.entries(""):
        places[f"bucket {entry.name}"] = lab.bucket.read(entry.name) or b""
    for path in lab.desk.folder.rglob("*"):  # run files, compiled pipelines, run folders, contexts
        if path.is_file() and not path.is_symlink():
            places[str(path)] = path.read_bytes()
    pods = lab.core.list_namespaced_pod(lab.namespace).items
    for pod in pods:
        plain = [f"{each.name}={each.value}" for part in pod.spec.containers for each in part.env or [] if each.value]
        places[f"pod {pod.metadata.name}"] = "\n".join([*plain, str(pod.metadata.annotations)]).encode()
        if pod.metadata.labels and "pipeline/runid" in pod.metadata.labels and pod.status.phase != "Pending":
            places[f"log of {pod.metadata.name}"] = lab.log(pod.metadata.name).encode()
    places |= of_mlflow()
    assert len(places) > 20, "nothing was looked at"
    found = sorted(name for name, content in places.items() if any(secret in content for secret in hidden))
    assert not found


def of_mlflow() -> dict[str, bytes]:
    """All that the server says about its runs and models."""
    from preflow.tracking.store import configure

    configure()
    import mlflow

    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    said = {f"MLflow run {run.info.run_id}": str(run.to_dictionary()).encode() for run in runs}
    models = client.search_logged_models(experiments)
    return said | {f"MLflow model {model.model_id}": str(model.to_dictionary()).encode() for model in models}
