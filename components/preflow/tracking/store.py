"""Where runs are recorded: a sqlite store of our own under PREFLOW_HOME, or any MLflow server by its URI.

Several processes that meet in a fresh sqlite store damage it for good, so it is made in a temporary file and linked
into place whole. mlflow is imported here, inside functions: importing this module costs nothing.
"""

import contextlib
import fcntl
import os
import re
import secrets
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.errors import SettingsError
from preflow.tracking.plugin import plugin_parent

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A server that is down would block one call for 254 s otherwise.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # asynchronous logging loses nearly all points of a killed process
}
HEALTH_SECONDS = 5.0
REFUSED = re.compile(r"error code 40[13]\b")


@dataclass(frozen=True)
class Store:
    """A tracking store with the experiment that runs go to. `identity` tells a store from one that was made anew.

    `opened` is the run that Kubeflow Pipelines' own plugin opened for ours; the experiment then is that run's.
    """

    uri: str
    experiment: str
    experiment_id: str
    identity: str
    client: Any
    opened: Any | None = None


def local_uri(home: Path) -> str:
    """The URI of the home's own store."""
    return f"sqlite:///{home / DATABASE}"


def store_uri(home: Path, tracking: Mapping[str, Any]) -> str:
    """Where a run with this tracking section is recorded."""
    return tracking.get("uri") or local_uri(home)


def experiment_name(tracking: Mapping[str, Any]) -> str:
    return str(tracking.get("experiment") or "preflow")


def store_identity(home: Path, uri: str) -> str | None:
    """What tells the store from one made anew in its place; None if it is not there. Cheap: without mlflow."""
    if uri != local_uri(home):
        return uri
    if not (home / DATABASE).is_file():
        return None
    with contextlib.closing(sqlite3.connect(home / DATABASE, timeout=20)) as connection:
        return str(connection.execute("PRAGMA user_version").fetchone()[0])


def configure() -> None:
    """Settings that mlflow reads when it is imported or called: no telemetry, short waits. The user's own win."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def open_store(home: Path, tracking: Mapping[str, Any], kfp_run: str | None = None) -> Store:
    """The store for runs with this tracking section, its experiment made if need be; `kfp_run` is the run's id on a cluster.

    Raises SettingsError for a server that does not answer or lets nobody in, and for an experiment that was deleted.
    """
    configure()
    uri, name = store_uri(home, tracking), experiment_name(tracking)
    is_local = uri == local_uri(home)
    if is_local:
        make_local_store(home)
    else:
        check_server(uri)
    import mlflow

    mlflow.set_tracking_uri(uri)  # the registry and artifact repositories look there, whatever their client was told
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    identity = store_identity(home, uri)
    assert identity is not None
    with _let_in(uri):
        opened = plugin_parent(client, kfp_run) if kfp_run and not is_local else None
        if opened is not None:
            name = client.get_experiment(opened.info.experiment_id).name
            return Store(uri, name, str(opened.info.experiment_id), identity, client, opened)
        experiment_id = _experiment(client, name, home / ARTIFACTS if is_local else None)
    return Store(uri, name, experiment_id, identity, client)


@contextlib.contextmanager
def _let_in(uri: str) -> Iterator[None]:
    """Say of a refusal what it is; mlflow shows the answer's page."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() not in (401, 403) and not REFUSED.search(str(error)):
            raise
        raise SettingsError(
            f"tracking.uri {uri}: the MLflow server refuses these credentials ({str(error).strip()[:200]}). Expected ones that "
            "may write. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        ) from None


def make_local_store(home: Path) -> None:
    """Create the home's store if it is not there: in a temporary file, in WAL mode, then linked into place."""
    target = home / DATABASE
    if target.exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    with _only_one(home / f".{DATABASE}.lock"):
        if target.exists():
            return
        temporary = home / f".{DATABASE}.making.{secrets.token_hex(6)}"
        try:
            _build(temporary, home / ARTIFACTS)
            with contextlib.suppress(FileExistsError):  # where flock does nothing, the link still decides
                os.link(temporary, target)
        finally:
            for leftover in home.glob(f".{DATABASE}.making.*"):  # also of an attempt that was killed
                leftover.unlink(missing_ok=True)


def _build(path: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{path}", str(artifacts))
    store.engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={secrets.randbelow(1 << 30) + 1}")  # its identity
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def check_server(uri: str) -> None:
    """Raises SettingsError if an MLflow server at `uri` does not answer in seconds. Other stores are not asked."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    request = urllib.request.Request(f"{uri.rstrip('/')}/health")
    try:
        with urllib.request.urlopen(request, timeout=HEALTH_SECONDS):
            return
    except urllib.error.HTTPError as answer:
        if answer.code < 500:  # a proxy in front of it may hide /health; somebody is there
            return
        problem = f"it answers {answer.code}"
    except (OSError, ValueError) as error:
        problem = str(getattr(error, "reason", error))
    raise SettingsError(
        f"tracking.uri {uri}: no MLflow server there ({problem}). Expected an MLflow server that answers at /health. "
        "Start it, mend tracking.uri, or leave it out: runs are then recorded under PREFLOW_HOME."
    )


def _experiment(client: Any, name: str, artifacts: Path | None) -> str:
    """The experiment's id. Its artifacts get an explicit place: the default is where somebody happened to be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = (artifacts / re.sub(r"[^\w.-]", "_", name)).as_uri() if artifacts else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise SettingsError(
            f"experiment {name!r} was deleted in MLflow. Expected one that can be written. "
            f"Restore it (mlflow experiments restore -x {found.experiment_id}), "
            "or set tracking.experiment to another name."
        )
    return str(found.experiment_id)


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
