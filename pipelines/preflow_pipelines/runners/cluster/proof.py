"""The proof of a cluster: one small run, of which nothing stays. What it wrote, and the run itself, are deleted."""

import contextlib
import io
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import json_format
from kfp import dsl

from preflow.artifacts.bucket import Bucket
from preflow.errors import BucketError, ClusterError
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.pods import apply_pod
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.access import explained, kubernetes_service
from preflow_pipelines.runners.cluster.answers import asking
from preflow_pipelines.runners.cluster.binding import with_images
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.failures import last_words
from preflow_pipelines.runners.cluster.findings import Finding, ok, problem
from preflow_pipelines.runners.cluster.image_probe import CANNOT_PULL
from preflow_pipelines.runners.cluster.proof_steps import look, read

PROOF_NAME = "preflow-doctor"
"""A pipeline of its own, so that the cache of real runs never sees it."""
LIMIT_SECONDS, LOOK_SECONDS = 600.0, 2.0
HOPELESS = {*CANNOT_PULL, "CreateContainerConfigError"}
FIXES = {
    "bucket from pods": "Mend bucket, bucket_endpoint (as pods reach it) and bucket_secret of the context.",
    "secrets in pods": "Fill the keys of these secrets: kubectl edit secret, or make them anew.",
    "MLflow from pods": "Mend `mlflow` (as pods reach it) and mlflow_secret of the context, or its NetworkPolicy.",
}


def prove(connection: Connection, image: str, say: Callable[[str], None]) -> list[Finding]:
    """Submit the small run, wait for it, and say of each part whether it works from inside of the pods."""
    probe = f"probe-{secrets.token_hex(8)}"
    started = time.monotonic()
    try:
        spec, platform = _compiled(connection.profile, image, probe)
        run = _create(connection, spec, platform, probe)
    except ClusterError as error:
        return [problem("small run", str(error))]
    over, why = None, ""
    try:
        say(f"small run {connection.api.run_url(run)}")
        over, why = _wait(connection, run, started)
        return list(_findings(connection, run, over, why, time.monotonic() - started))
    except (ClusterError, BucketError) as error:
        return [problem("small run", str(error))]
    finally:
        _clean_up(connection, run, over, probe)


def _compiled(profile: ClusterProfile, image: str, probe: str) -> tuple[dict[str, Any], dict[str, Any]]:
    @dsl.pipeline(name=PROOF_NAME)
    def pipeline() -> None:
        first = look(probe=probe, secrets=json.dumps(sorted(profile.secrets)))
        second = read(report=first.outputs["report"])
        for task in (first, second):
            task.set_caching_options(False)
            apply_pod(task, profile, Hardware())

    spec = with_images(json_format.MessageToDict(pipeline.pipeline_spec), {"data": image})
    return spec, json_format.MessageToDict(pipeline.platform_spec)


def _create(connection: Connection, spec: dict[str, Any], platform: dict[str, Any], name: str) -> str:
    """The id of the new run. KFP's MLflow plugin is told to leave it out."""
    import kfp_server_api

    client, profile = connection.api.client, connection.profile
    with explained(profile, "creating a small run"):
        namespace = profile.namespace if client.get_kfp_healthz().multi_user else None
        listed = client.list_experiments(page_size=1, namespace=namespace)
        experiments = listed.experiments
        if not experiments:
            with contextlib.redirect_stdout(io.StringIO()):  # kfp's client prints a link
                experiments = [client.create_experiment("Default", namespace=namespace)]
        run = kfp_server_api.V2beta1Run(
            display_name=f"doctor-{name}",
            experiment_id=experiments[0].experiment_id,
            pipeline_spec={"pipeline_spec": spec, "platform_spec": platform},
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(
                parameters={}, pipeline_root=connection.bucket.uri_of("artifacts")
            ),
            service_account=profile.service_account,
            plugins_input={"mlflow": {"disabled": True}},
        )
        return str(client._run_api.run_service_create_run(run).run_id)


def _wait(connection: Connection, run: str, started: float) -> tuple[str | None, str]:
    """(how it ended, why it waits or failed). The first is None for a run that does not end."""
    why = ""
    while time.monotonic() - started < LIMIT_SECONDS:
        state = connection.api.state(run)
        if state.over:
            return state.over, _last_words(connection, run)
        why = _why_waiting(connection, run)
        if why.partition(":")[0] in HOPELESS:
            return None, why
        time.sleep(LOOK_SECONDS)
    return None, why


def _why_waiting(connection: Connection, run: str) -> str:
    try:
        return next((pod.waiting for pod in connection.pods.of_run(run) if pod.waiting), "")
    except Exception:  # the client raises many kinds, and a reason is a comfort, not a need
        return ""


def _last_words(connection: Connection, run: str) -> str:
    """Of the step or driver that failed."""
    try:
        failed = [pod for pod in connection.pods.of_run(run) if pod.phase == "Failed"]
        return last_words(connection.pods.log(failed[-1].name, 50)) if failed else ""
    except Exception:
        return ""


def _findings(connection: Connection, run: str, over: str | None, why: str, seconds: float) -> Iterator[Finding]:
    where = f"artifacts/{PROOF_NAME}/{run}"
    written = {entry.name.rpartition("/")[2]: entry.name for entry in connection.bucket.entries(where)}
    page = f"Look at {connection.api.run_url(run)}" if connection.profile.api else "Look at the pods of the namespace."
    said = f" ({why})" if why else ""
    if "report" not in written:
        ended = f"ended {over}" if over else "does not get on"
        yield problem(
            "pods", f"the first step {ended}, and wrote no artifact{said}. Expected it within minutes. {page}"
        )
        return
    yield ok("pods", f"two steps in {seconds:.0f}s")
    if over == "SUCCEEDED" and "again" in written:
        yield ok("artifact store", f"{connection.bucket.uri_of('artifacts')}: written by one step, read by the next")
    else:
        yield problem("artifact store", f"the second step did not pass on the first one's artifact{said}. {page}")
    for part, (works, found) in (connection.bucket.read_json(written["report"]) or {}).items():
        if part == "secrets in pods" and not connection.profile.secrets:
            continue
        yield ok(part, found) if works else Finding(part, "problem", found, FIXES[part])


def _clean_up(connection: Connection, run: str, over: str | None, probe: str) -> None:
    """Each part for itself: what one cannot delete, another may."""
    steps: list[Callable[[], None]] = [] if over else [lambda: connection.api.cancel(run)]
    steps += [
        lambda: _delete_pods(connection, run),
        lambda: _delete_run(connection, run),
        lambda: connection.bucket.delete(probe),
        lambda: _delete_artifacts(connection.bucket, run),
    ]
    for step in steps:
        try:
            step()
        except (ClusterError, BucketError):
            continue


def _delete_pods(connection: Connection, run: str) -> None:
    """Those that the backend would only delete some time later."""
    with asking(kubernetes_service(connection.profile)):
        for pod in connection.pods.of_run(run):
            connection.pods.core.delete_namespaced_pod(pod.name, connection.pods.namespace)


def _delete_run(connection: Connection, run: str) -> None:
    with explained(connection.profile, "deleting the small run"):
        connection.api.client.delete_run(run)


def _delete_artifacts(bucket: Bucket, run: str) -> None:
    folder = f"artifacts/{PROOF_NAME}"
    bucket.delete(f"{folder}/{run}")
    if not bucket.names(folder):
        bucket.delete(folder)
