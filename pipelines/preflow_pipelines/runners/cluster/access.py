"""The clients of a cluster: of the Kubeflow Pipelines API, of Kubernetes, and a look at MLflow.

Where a connection cannot be made, each says so in seconds. Whoever calls a client does it inside `asking(...)`.
"""

import base64
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import urllib3

from preflow.errors import ClusterError
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.answers import Service, asking, explain_status, message_of, not_json
from preflow_pipelines.runners.cluster.sign_in import sign_in

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
CREDENTIALS = {
    "none": "Does the API ask for credentials? Give the context its kind: --auth token, dex, cookie or oidc.",
    "token": "Put a fresh token into the variable that auth.variable names.",
    "token_file": "Put a fresh token into the file that auth.path names.",
    "port_forward": "Mend the user of the kubeconfig, or ask for the right to `get` and `create` services/proxy.",
    "dex": "Mend the user and password, or ask for a role in the namespace.",
    "cookie": "Log in with a browser, and put the fresh cookie into the variable that auth.variable names.",
    "oidc": "Log in again, or ask for access to the proxy.",
}


def api_service(profile: ClusterProfile) -> Service:
    """The API, for what is said about it."""
    if profile.auth.kind == "port_forward":
        where = f"service {profile.auth.service}:{profile.auth.port} of namespace {profile.namespace}"
        fix = "Mend auth.service, auth.port and namespace of the context."
    else:
        where, fix = profile.api, "Mend `api` of the context, or start the port forward it points to."
    return Service("Kubeflow Pipelines", where, fix, CREDENTIALS[profile.auth.kind])


def kubernetes_service(profile: ClusterProfile) -> Service:
    """The API server of Kubernetes, for what is said about it."""
    where = f"context {profile.kube_context} of the kubeconfig" if profile.kube_context else "the kubeconfig's context"
    return Service(
        "Kubernetes",
        where,
        "Mend kubeconfig and kube_context of the context: `kubectl get pods` shows the same error.",
        "Log in to the cluster again, or ask for this right.",
    )


def mlflow_service(where: str) -> Service:
    return Service(
        "MLflow",
        where,
        "Mend `mlflow` of the context (`mlflow_here`, if this machine has another address for it), or start the server.",
        "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
    )


@contextmanager
def explained(profile: ClusterProfile, doing: str) -> Iterator[None]:
    """Calls of the API inside the block raise ClusterError, which begins with what was being done."""
    try:
        with asking(api_service(profile)):
            yield
    except ClusterError as error:
        raise ClusterError(f"{doing}: {error}", error.status, error.in_doubt) from None


def kfp_client(profile: ClusterProfile) -> kfp.Client:
    """A client that is signed in. Nothing is asked yet, but where one has to log in. Raises ClusterError."""
    service = api_service(profile)
    configuration = kfp_server_api.Configuration()
    cookie = None
    if profile.auth.kind == "port_forward":
        _through_kubernetes(profile, configuration)
    else:
        configuration.host = profile.api.rstrip("/")
        configuration.ssl_ca_cert = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
        cookie = sign_in(profile, configuration, service)
    with asking(service), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return _Client(configuration, profile.namespace, cookie)


class _Client(kfp.Client):
    """kfp's client with one source of settings, the profile: no file in the user's home, no KF_* variables.

    kfp's own would call the API while it is made, five times with five seconds between, and knows no time limits.
    """

    def __init__(self, configuration: Any, namespace: str, cookie: str | None):
        self._ready, self._profile_namespace = _impatient(configuration), namespace
        super().__init__(host=configuration.host, namespace=namespace, cookies=cookie)
        _limit(self._run_api.api_client.rest_client)  # the one that all of its parts share

    def _load_config(self, *arguments: Any) -> Any:
        return self._ready

    def _load_context_setting_or_default(self) -> None:
        self._context_setting = {"namespace": self._profile_namespace}

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Asked once: what refuses now will refuse in five seconds."""
        return self._healthz_api.healthz_service_get_healthz()


def _impatient(configuration: Any) -> Any:
    """No new attempts to connect; one more read, of what changes nothing."""
    configuration.retries = urllib3.Retry(total=6, connect=0, read=1, redirect=5, other=0)
    return configuration


def _limit(rest_client: Any) -> None:
    """Give each request a time limit: the generated clients wait for ever unless each call says otherwise."""
    request = rest_client.request

    def limited(method: str, url: str, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or (CONNECT_SECONDS, READ_SECONDS)
        return request(method, url, **options)

    rest_client.request = limited


def _through_kubernetes(profile: ClusterProfile, configuration: Any) -> None:
    """The API server's proxy to the service: what kfp.Client does without a host, for any service name and port."""
    assert profile.auth.kind == "port_forward"
    if not _load_kubernetes(profile, configuration):
        raise ClusterError(
            "auth.kind port_forward: there is no kubeconfig here. Expected one. Set KUBECONFIG, or name `kubeconfig`."
        )
    service = f"{profile.auth.service}:{profile.auth.port}"
    host = f"{configuration.host}/api/v1/namespaces/{profile.namespace}/services/{service}/proxy"
    renew = configuration.refresh_api_key_hook

    def renew_and_stay(changed: Any) -> None:
        if renew:
            renew(changed)  # sets address and hook anew as well, to its own
        changed.host, changed.refresh_api_key_hook = host, renew_and_stay

    configuration.host, configuration.refresh_api_key_hook = host, renew_and_stay


def kubernetes(profile: ClusterProfile) -> Any:
    """A client of Kubernetes (CoreV1Api). Raises ClusterError."""
    core = kubernetes_if_any(profile)
    if core is None:
        raise ClusterError("there is no kubeconfig here. Expected one. Set KUBECONFIG, or name `kubeconfig`.")
    return core


def kubernetes_if_any(profile: ClusterProfile) -> Any | None:
    """The same; None where there is neither a kubeconfig nor a pod's account."""
    from kubernetes import client

    configuration = client.Configuration()
    if not _load_kubernetes(profile, configuration):
        return None
    core = client.CoreV1Api(client.ApiClient(_impatient(configuration)))
    _limit(core.api_client.rest_client)
    return core


def _load_kubernetes(profile: ClusterProfile, configuration: Any) -> bool:
    from kubernetes import config

    named = profile.kubeconfig or os.environ.get("KUBECONFIG")
    places = [os.path.expanduser(place) for place in (named or "~/.kube/config").split(os.pathsep)]
    if not named and not Path(places[0]).is_file():
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            return False
        return True
    with asking(kubernetes_service(profile)):
        config.load_kube_config(
            os.pathsep.join(places), context=profile.kube_context, client_configuration=configuration
        )
    return True


def mlflow_health(uri: str) -> None:
    """Raises ClusterError unless an MLflow server answers there and accepts the environment's credentials."""
    service = mlflow_service(uri)
    base = uri.rstrip("/")
    with asking(service):
        if not uri.startswith(("http://", "https://")):
            raise ClusterError(
                f"{service}: expected the http:// or https:// address of a server. {service.address_fix}"
            )
        pool = urllib3.PoolManager(ca_certs=os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE"))
        limits = {
            "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=10.0),
            "retries": urllib3.Retry(total=3, connect=0, read=0),
            "headers": _mlflow_headers(),
        }
        health = pool.request("GET", f"{base}/health", **limits)  # type: ignore[arg-type]
        if health.status != 200:
            raise ClusterError(explain_status(health.status, "", service))
        page = pool.request("GET", f"{base}/api/2.0/mlflow/experiments/search?max_results=1", **limits)  # type: ignore[arg-type]
        text = page.data.decode("utf-8", "replace")
        if page.status != 200:
            raise ClusterError(explain_status(page.status, message_of(text), service))
        if not text.lstrip().startswith("{"):
            raise ClusterError(not_json(text, service))


def _mlflow_headers() -> dict[str, str]:
    """As MLflow's own client signs in."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {"Authorization": f"Bearer {token}"} if token else {}
