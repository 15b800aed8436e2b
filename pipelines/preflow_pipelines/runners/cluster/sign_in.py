"""The credentials of each kind of `auth`, put where kfp's client takes them. They live in memory only."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from preflow.errors import ClusterError
from preflow_pipelines.profile import ClusterProfile, DexAuth, OidcAuth
from preflow_pipelines.runners.cluster.answers import Service, asking, explain_status

SECONDS = (5.0, 15.0)
"""To connect, and to answer."""


def from_variable(variable: str, what: str) -> str:
    """The value of an environment variable that a profile names. Raises ClusterError."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ClusterError(f"{variable} is not set here. Expected {what} in it. Set it: export {variable}=...")
    return value


def sign_in(profile: ClusterProfile, configuration: Any, service: Service) -> str | None:
    """Put the profile's credentials into the client's configuration; the cookie, where the API wants one."""
    auth = profile.auth
    if auth.kind == "token":
        _bearer(configuration, from_variable(auth.variable, "a bearer token of the Kubeflow Pipelines API"))
    elif auth.kind == "token_file":
        _bearer(configuration, "")  # the client looks for a key before it asks for a fresh one
        configuration.refresh_api_key_hook = _read_again(Path(os.path.expanduser(auth.path)))
        configuration.refresh_api_key_hook(configuration)
    elif auth.kind == "cookie":
        return from_variable(auth.variable, "a session cookie, NAME=VALUE")
    elif auth.kind == "dex":
        return _dex_cookie(profile.api, auth, service)
    elif auth.kind == "oidc":
        _bearer(configuration, _oidc_token(auth, service))
    return None


def _bearer(configuration: Any, token: str) -> None:
    configuration.api_key["authorization"] = token
    configuration.api_key_prefix["authorization"] = "Bearer"


def _read_again(path: Path) -> Callable[[Any], None]:
    """A projected token is replaced on disk every hour or so: each call reads it."""

    def read(configuration: Any) -> None:
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "no text"
            raise ClusterError(
                f"token file {path}: cannot be read ({said}). Expected a bearer token. Mend auth.path of the context."
            ) from None
        if not token:
            raise ClusterError(f"token file {path}: is empty. Expected a bearer token. Write one, or mend auth.path.")
        configuration.api_key["authorization"] = token

    return read


def _oidc_token(auth: OidcAuth, service: Service) -> str:
    from kfp.client.auth import get_auth_token

    secret = auth.other_client_secret_variable
    with asking(service):
        token, _ = get_auth_token(
            auth.client_id, auth.other_client_id, from_variable(secret, "the client's secret") if secret else None
        )
    if not token:
        raise ClusterError(
            f"{service}: no identity for client {auth.client_id}. Expected a service account or a desktop client. "
            "Set GOOGLE_APPLICATION_CREDENTIALS, or give other_client_id and other_client_secret_variable."
        )
    return str(token)


def _dex_cookie(url: str, auth: DexAuth, service: Service) -> str | None:
    """Log in as Kubeflow's documentation does it from outside of the cluster: redirects, a form, perhaps an approval."""
    import requests

    user = from_variable(auth.user_variable, "the user's name at Dex")
    password = from_variable(auth.password_variable, "the user's password at Dex")
    session = requests.Session()
    with asking(service):
        answer = session.get(url, timeout=SECONDS)
        if answer.status_code == 403:  # oauth2-proxy's page with a button
            place = urlsplit(answer.url)
            start = place._replace(path="/oauth2/start", query=urlencode({"rd": place.path}))
            answer = session.get(start.geturl(), timeout=SECONDS)
        _expect_ok(answer, service)
        if not answer.history:
            return None  # nobody asks who we are
        login = _login_page(session, answer, service)
        answer = session.post(login, data={"login": user, "password": password}, timeout=SECONDS)
        _expect_ok(answer, service)
        if not answer.history:
            raise ClusterError(
                f"{service}: Dex does not accept the user and password. Expected a static user's. "
                f"Mend {auth.user_variable} and {auth.password_variable}."
            )
        if urlsplit(answer.url).path.endswith("/approval"):
            _expect_ok(session.post(answer.url, data={"approval": "approve"}, timeout=SECONDS), service)
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)


def _login_page(session: Any, answer: Any, service: Service) -> str:
    """The form of Dex's own users: chosen where there are other ways to log in."""
    place = urlsplit(answer.url)
    if place.path.endswith("/auth"):
        place = place._replace(path=f"{place.path}/local")
    if not re.search(r"/auth/.*/login$", place.path):
        answer = session.get(place.geturl(), timeout=SECONDS)
        _expect_ok(answer, service)
        place = urlsplit(answer.url)
    return place.geturl()


def _expect_ok(answer: Any, service: Service) -> None:
    if answer.status_code != 200:
        raise ClusterError(explain_status(answer.status_code, "", service))
