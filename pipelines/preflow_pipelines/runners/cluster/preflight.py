"""All that a submission needs of a cluster, asked before anything is submitted. Nothing asked here stays behind.

The API, the bucket and MLflow are asked at the same time as Kubernetes; each has its own time limit, so that the answer is
there within a minute whatever does not answer. What this machine may not see is "not checked", which stops nobody.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from preflow.artifacts.bucket import Bucket
from preflow.errors import ClusterError, PreflowError
from preflow_pipelines.hardware import RoleHardware
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.access import api_service, kfp_client, mlflow_health
from preflow_pipelines.runners.cluster.answers import asking, not_json
from preflow_pipelines.runners.cluster.findings import Finding, not_checked, ok, problem
from preflow_pipelines.runners.cluster.kubernetes_checks import check_kubernetes

ASK_SECONDS = (5.0, 10.0)
LIMIT_SECONDS = 30.0

WhyNoNode = Callable[[RoleHardware, Sequence[Mapping[str, Any]]], str | None]


@dataclass(frozen=True)
class Wanted:
    """What a compiled workflow asks of the cluster: role -> image and role -> hardware, of the roles that it has."""

    images: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, RoleHardware] = field(default_factory=dict)
    why_no_node: WhyNoNode | None = None


def preflight(profile: ClusterProfile, wanted: Wanted, remembered: Path) -> list[Finding]:
    """Every part in the order it is needed. `remembered` is the file that keeps which images were pulled before."""
    others = [_Aside("api", check_api, profile), _Aside("bucket", check_bucket, profile)]
    if profile.mlflow:
        others.append(_Aside("MLflow", check_mlflow, profile))
    until = time.monotonic() + LIMIT_SECONDS
    inside = list(check_kubernetes(profile, wanted.images, wanted.hardware, wanted.why_no_node, remembered))
    api, *rest = [other.findings(until) for other in others]
    return [*api, *inside[:1], *(finding for findings in rest for finding in findings), *inside[1:]]


class _Aside:
    """A check in a thread of its own, which nobody waits for longer than its limit."""

    def __init__(self, name: str, check: Callable[[ClusterProfile], Iterator[Finding]], profile: ClusterProfile):
        self.name = name
        self._found: list[Finding] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(check, profile), daemon=True, name=name)
        self._thread.start()

    def _work(self, check: Callable[[ClusterProfile], Iterator[Finding]], profile: ClusterProfile) -> None:
        try:
            for finding in check(profile):
                self._found.append(finding)
        except BaseException as error:  # shown where it is waited for
            self._error = error

    def findings(self, until: float) -> list[Finding]:
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._error:
            raise self._error
        late = "no answer in time. Expected one in seconds. Look at the network between here and there."
        return [*self._found, *([problem(self.name, late)] if self._thread.is_alive() else [])]


def check_api(profile: ClusterProfile) -> Iterator[Finding]:
    """Is it the API, and does it let us in?"""
    service = api_service(profile)
    try:
        client = kfp_client(profile)
        with asking(service):
            health = client._healthz_api.healthz_service_get_healthz(
                _preload_content=False, _request_timeout=ASK_SECONDS
            )
            about = _json(health.data, service)
    except PreflowError as error:
        yield problem("api", str(error))
        return
    yield ok("api", f"{service.where} ({'multi-user' if about.get('multi_user') else 'single-user'})")
    try:
        with asking(service):
            runs = client._run_api.run_service_list_runs(
                namespace=profile.namespace, page_size=1, _preload_content=False, _request_timeout=ASK_SECONDS
            )
            _json(runs.data, service)
    except PreflowError as error:
        yield problem("credentials", str(error))
        return
    yield ok("credentials", f"auth {profile.auth.kind}: may list the runs")


def _json(data: bytes, service: Any) -> dict[str, Any]:
    """An answer of the API. The generated client would take a web page for an empty one."""
    text = data.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ClusterError(not_json(text, service))
    return content


def check_bucket(profile: ClusterProfile) -> Iterator[Finding]:
    """From here, with the environment's credentials: write, list and delete."""
    here = profile.bucket_endpoint_here or profile.bucket_endpoint
    name = f"probe-{secrets.token_hex(8)}"
    try:
        bucket = Bucket(profile.bucket, here)
        bucket.check()  # first: there are stores that make the bucket that one writes to
        bucket.write(name, b"probe")
        bucket.delete(name)
    except PreflowError as error:
        text = str(error).replace(f"/{name}", "")
        if here and profile.bucket_endpoint_here is None and "does not answer" in text and inside_only(here):
            text += " If only pods know this address, give this machine's one: --bucket-endpoint-here"
        yield problem("bucket", text)
        return
    yield ok("bucket", f"{profile.bucket}: may write, list and delete")


def check_mlflow(profile: ClusterProfile) -> Iterator[Finding]:
    """The server answers, and lets us in."""
    uri = profile.mlflow_here or profile.mlflow
    assert uri is not None
    try:
        mlflow_health(uri)
    except PreflowError as error:
        if profile.mlflow_here is None and inside_only(uri) and "host name is not known" in str(error):
            yield not_checked(
                "MLflow",
                f"{uri} is a name inside of the cluster",
                "Give --mlflow-here, or let a pod ask: preflow doctor --cluster",
            )
            return
        yield problem("MLflow", str(error))
        return
    yield ok("MLflow", uri)


def inside_only(url: str) -> bool:
    """Whether a host name is one that the cluster's DNS alone knows."""
    host = urlsplit(url).hostname or ""
    inside = host.endswith((".svc", ".svc.cluster.local")) or host.count(".") == 1
    return inside or ("." not in host and host != "localhost")
