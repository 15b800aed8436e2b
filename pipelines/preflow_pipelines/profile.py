"""Cluster profiles: where a cluster is, and how one is let in. Secrets are named, never held.

A profile is a YAML file, $PREFLOW_HOME/contexts/<name>.yaml; `current` beside it names the one in use.
"""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, model_validator

from preflow.artifacts.bucket import SCHEMES
from preflow.artifacts.files import write_text
from preflow.errors import SettingsError
from preflow.settings.section import Section, explain, setting
from preflow.settings.yaml_file import read_yaml

NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
ADDRESSES = ("api", "bucket", "bucket_endpoint", "bucket_endpoint_here", "mlflow", "mlflow_here")
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""


class NoAuth(Section):
    kind: Literal["none"] = setting("none", "the API is open, or reached through a proxy that is", source="the default")


class TokenAuth(Section):
    kind: Literal["token"] = setting("token", "a bearer token in an environment variable", source="kfp.Client")
    variable: Variable = setting("KFP_TOKEN", "the variable that holds it where you submit", source="ours")


class TokenFileAuth(Section):
    kind: Literal["token_file"] = setting(
        "token_file", "a bearer token in a file, read at each call", source="kfp.Client"
    )
    path: str = setting(
        "/var/run/secrets/kubeflow/pipelines/token", "the file", source="where Kubeflow projects a pod's token"
    )


class PortForwardAuth(Section):
    kind: Literal["port_forward"] = setting(
        "port_forward", "through the Kubernetes API, with the kubeconfig's rights", source="kfp.Client"
    )
    service: str = setting("ml-pipeline", "the API's service in the namespace", source="Kubeflow Pipelines' manifests")
    port: int = setting(8888, "its port", source="Kubeflow Pipelines' manifests", ge=1, le=65535)


class DexAuth(Section):
    kind: Literal["dex"] = setting("dex", "log in at Dex with a static user, for a session cookie", source="Kubeflow")
    user_variable: Variable = setting("KFP_USER", "the variable that holds the user", source="ours")
    password_variable: Variable = setting("KFP_PASSWORD", "the variable that holds the password", source="ours")


class CookieAuth(Section):
    kind: Literal["cookie"] = setting("cookie", "a session cookie in an environment variable", source="kfp.Client")
    variable: Variable = setting("KFP_COOKIE", "the variable, e.g. authservice_session=...", source="ours")


class OidcAuth(Section):
    kind: Literal["oidc"] = setting("oidc", "an OAuth client (IAP), by kfp.Client", source="kfp.Client")
    client_id: str = setting(..., "client_id of the proxy", source="your administrator")
    other_client_id: str | None = setting(None, "client id for a desktop", source="your administrator")
    other_client_secret_variable: Variable | None = setting(
        None, "the variable that holds its secret", source="your administrator"
    )


Auth = Annotated[
    NoAuth | TokenAuth | TokenFileAuth | PortForwardAuth | DexAuth | CookieAuth | OidcAuth, Field(discriminator="kind")
]


class ClusterProfile(Section):
    """Addresses are those from inside a pod; `*_here` where this machine reaches the same thing at another one."""

    api: str = setting("", "URL of the Kubeflow Pipelines API; empty with auth.kind port_forward", source="yours")
    auth: Auth = setting(NoAuth(), "how the API lets you in", source="none")
    namespace: str = setting("kubeflow", "where the pods run", source="Kubeflow Pipelines' manifests", pattern=NAME)
    service_account: str | None = setting(None, "of the pods", source="the backend's default")
    kubeconfig: str | None = setting(None, "file; KUBECONFIG or ~/.kube/config if left out", source="kubectl")
    kube_context: str | None = setting(None, "context of the kubeconfig", source="its current one")
    bucket: str = setting(..., "scheme://bucket/prefix that runs, inputs and checkpoints lie under", source="yours")
    bucket_endpoint: str | None = setting(
        None, "address of the store, where it is not AWS's or Google's", source="none"
    )
    bucket_endpoint_here: str | None = setting(None, "the same, from this machine", source="bucket_endpoint")
    bucket_region: str | None = setting(
        None, "region of the bucket, for the pods, e.g. eu-central-1", source="us-east-1, which other stores ignore"
    )
    bucket_secret: str | None = setting(
        None, "secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for the pods", source="the pods' identity"
    )
    mlflow: str | None = setting(None, "URI of the MLflow server", source="no tracking on the cluster")
    mlflow_here: str | None = setting(None, "the same, from this machine", source="mlflow")
    mlflow_secret: str | None = setting(
        None, "secret with MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN, for the pods", source="an open server"
    )
    images: str = setting(
        "images.lock", "the file that `make push` wrote, absolute or from where you submit", source="ours"
    )
    pull_secret: str | None = setting(None, "secret of the registry", source="a registry that the nodes may read")
    secrets: dict[Variable, str] = setting(
        {}, "environment variable of the pods -> secret/key, e.g. {HF_TOKEN: hub/token}", source="none"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for name in ADDRESSES:
            if "@" in urlsplit(getattr(self, name) or "").netloc:
                raise ValueError(
                    f"{name}: the address holds a user and password. A context holds no secret. Leave out all up to the @, and "
                    "give the credentials by auth, AWS_* or MLFLOW_TRACKING_* variables, or a Kubernetes secret"
                )
        if not self.api and self.auth.kind != "port_forward":
            raise ValueError("api is empty; give the URL of the Kubeflow Pipelines API, or auth: {kind: port_forward}")
        if self.bucket.partition("://")[0] not in SCHEMES:
            raise ValueError(f"bucket {self.bucket!r}: expected {'://, '.join(SCHEMES)}://, then bucket and prefix")
        for variable, place in self.secrets.items():
            if place.count("/") != 1:
                raise ValueError(
                    f"secrets.{variable}: {place!r}; expected SECRET/KEY, the names of a secret and its key"
                )
        return self


def contexts_folder(home: Path) -> Path:
    return home / "contexts"


def load_profile(home: Path, name: str | None = None) -> tuple[str, ClusterProfile]:
    """(name, profile) of a context; of the one in use if `name` is None. Raises SettingsError."""
    folder = contexts_folder(home)
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name is None:
        current = folder / "current"
        if not current.is_file():
            raise SettingsError(
                "no cluster is in use. Expected a context. Make one: preflow context add NAME --api URL --bucket URI"
            )
        name = current.read_text(encoding="utf-8").strip()
    if name not in known:
        raise SettingsError(
            f"context {name!r}: there is none. Contexts: {', '.join(known) or 'none'}. See: preflow context"
        )
    content = read_yaml(folder / f"{name}.yaml", "api: http://...", "Expected a profile. See: preflow context show")
    try:
        return name, ClusterProfile.model_validate(content)
    except ValidationError as error:
        raise SettingsError(explain(error, ClusterProfile, f"context {name}")) from None


def save_profile(home: Path, name: str, profile: ClusterProfile) -> Path:
    """Write a profile; the first one is in use at once."""
    folder = contexts_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    content = profile.model_dump(mode="json", exclude_defaults=True)
    content["auth"] = profile.auth.model_dump(mode="json", exclude_none=True)  # its kind says what the rest means
    write_text(path, yaml.safe_dump(content, sort_keys=False))
    if not (folder / "current").is_file():
        use_profile(home, name)
    return path


def use_profile(home: Path, name: str) -> None:
    load_profile(home, name)
    write_text(contexts_folder(home) / "current", f"{name}\n")
