"""Submitting: inputs into the bucket by content, the compiled and bound pipeline to the API, the run into its folder.

What the run says of itself lies in the bucket before the API hears of it, so a pod never finds nothing there.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from preflow import __version__
from preflow.artifacts.bucket import Bucket
from preflow.errors import BucketError, ClusterError, PreflowError, SettingsError
from preflow.settings.plan import Plan, make_plan
from preflow.settings.runfile import load_run_file
from preflow.tracking.runs import CLUSTER
from preflow_pipelines.compile import PIPELINE_NAME, pipeline_spec
from preflow_pipelines.hardware import load_hardware
from preflow_pipelines.runners.cluster.binding import bind_run, lineages, roles_of, task_identities, with_images
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.ready import read_images, refuse_unready
from preflow_pipelines.runners.folder import RunFolder, new_run_folder
from preflow_pipelines.runners.inputs import StagedInput, open_store
from preflow_pipelines.runners.remote import remote_inputs
from preflow_pipelines.runners.sources import source_as_json
from preflow_pipelines.runners.tasks import tasks_of

MAX_PARAMETERS = 120_000  # bytes as JSON; the backend passes them on a command line of at most 128 KiB
LOST_SECONDS = 5.0  # for an API that is slow to make what it was asked for
Say = Callable[[str], None]


@dataclass(frozen=True)
class Submission:
    """All that the API is told, and what the run's folder keeps: a plan compiled for a cluster, or a stored run again."""

    spec: dict[str, Any]
    platform: dict[str, Any]
    arguments: dict[str, str]
    about: dict[str, Any]
    nonces: dict[str, str]


def prepare(run_file: Path, overrides: Sequence[str], connection: Connection, home: Path, say: Say) -> Submission:
    """Compile a run file for the cluster, check the cluster, and upload the inputs.

    Raises SettingsError, and ClusterError with all that the cluster lacks; nothing is uploaded then.
    """
    run = load_run_file(run_file, tuple(overrides))
    hardware = load_hardware(run.hardware, run_file.parent)
    plan = make_plan(run, run_file.parent.resolve())
    profile = connection.profile
    remote = remote_inputs(plan)
    spec, platform = pipeline_spec(plan, hardware, profile, remote)
    images = read_images(connection, roles_of(spec))
    refuse_unready(connection, hardware, images, home, say)
    bound = with_images(spec, images)
    staged, uris = upload_inputs(plan, remote, connection.bucket, home, say)
    about = describe(plan, bound, staged, uris, connection.mlflow)
    return Submission(bound, platform, about["arguments"], about, {})


def upload_inputs(
    plan: Plan, remote: Mapping[str, str], bucket: Bucket, home: Path, say: Say
) -> tuple[dict[str, StagedInput], dict[str, str]]:
    """Stage the plan's inputs and upload what the bucket lacks. Returns what was staged, and each input's URI; of a remote
    one the settings of the step that fetches it."""
    with open_store(home, say) as store:
        staged = {name: store.stage(spec) for name, spec in plan.inputs.items() if name not in remote}
    uris = dict(remote)
    for name, each in staged.items():
        path = Path(each.uri)
        place = f"inputs/{path.name}"
        last = f"{place}/manifest.json" if path.is_dir() else place
        if bucket.exists(last):  # written anew, so that nobody takes it for an old one that is not needed
            bucket.upload(path / "manifest.json" if path.is_dir() else path, last)
        else:
            say(f"uploading {name.replace('_', ' ')}")
            bucket.upload(path, place)
        uris[name] = bucket.uri_of(place)
    return staged, uris


def describe(
    plan: Plan,
    spec: dict[str, Any],
    staged: Mapping[str, StagedInput],
    uris: Mapping[str, str],
    tracking_here: str | None,
) -> dict[str, Any]:
    """What run.json says, but for the run's own id."""
    tracking = plan.run_file.tracking.model_dump() | {"uri": tracking_here}
    return {
        "method": plan.method,
        "run_file": plan.run_file.model_dump(mode="json"),
        "sections": dict(plan.sections),
        "arguments": {**plan.sections, **{f"{name}_uri": uri for name, uri in uris.items()}},
        "inputs": {name: vars(value) for name, value in staged.items()}
        | _described({name: uri for name, uri in uris.items() if name not in staged}),
        "sources": {name: source_as_json(each.source) for name, each in plan.inputs.items()},
        "order": [task.name for task in tasks_of(spec)],
        "tracking": tracking,
        "version": __version__,
    }


def _described(remote: Mapping[str, str]) -> dict[str, Any]:
    """Remote inputs as the others are described: their digest is that of their versions."""
    return {
        name: vars(StagedInput("", hashlib.sha256(settings.encode()).hexdigest(), _origins(settings)))
        for name, settings in remote.items()
    }


def _origins(settings: str) -> dict[str, str]:
    return {file["name"]: file["uri"] for file in json.loads(settings)["files"]}


def start(
    submission: Submission,
    connection: Connection,
    home: Path,
    *,
    parent: str | None = None,
    relation: str | None = None,
) -> RunFolder:
    """Create the run. Raises ClusterError, and leaves nothing behind, if the API refuses it; where it is not known whether
    there will be a run, what such a run reads stays in the bucket."""
    _refuse_too_large(submission.arguments)
    folder = new_run_folder(home)
    about, package = _write(submission, folder, parent, relation)
    bucket = connection.bucket
    try:
        for name in ("pipeline.json", "platform.json"):
            bucket.upload(folder.path / name, f"runs/{folder.id}/{name}")
        seen_from_pods = about["tracking"] | {"uri": connection.profile.mlflow}
        bucket.write_json(f"runs/{folder.id}/run.json", about | {"tracking": seen_from_pods})
        made = _create(connection, package, submission.arguments, about)
    except PreflowError as error:
        if not (isinstance(error, ClusterError) and error.in_doubt):
            with contextlib.suppress(BucketError):
                bucket.delete(f"runs/{folder.id}")
        shutil.rmtree(folder.path)
        raise
    where = {
        "context": connection.context,
        "kfp_run": made,
        "namespace": connection.profile.namespace,
        "url": connection.api.run_url(made),
        "bucket": bucket.uri,
        "endpoint": bucket.endpoint,
        "pipeline": PIPELINE_NAME,
    }
    folder.write(CLUSTER, where)
    folder.write("run.json", about)  # last: what has one is a run
    with contextlib.suppress(BucketError):  # the run is there: for its pods this is a comfort
        bucket.write_json(f"runs/{folder.id}/{CLUSTER}", where)
    return folder


def _create(connection: Connection, package: Path, arguments: Mapping[str, str], about: Mapping[str, Any]) -> str:
    """The run's id at the API. Of an answer that was lost the run itself tells, if it is there by now."""
    name, experiment = f"{about['method']}-{about['id']}", about["tracking"]["experiment"]
    root = connection.bucket.uri_of("artifacts")
    try:
        return connection.api.create_run(package, arguments, name=name, experiment=experiment, root=root)
    except ClusterError as error:
        if not error.in_doubt:
            raise
        time.sleep(LOST_SECONDS)
        with contextlib.suppress(ClusterError):
            if made := connection.api.find_run(name):
                return made
        raise ClusterError(
            f"{error} It may have begun all the same: before you submit again, look for {name!r} in the web interface.",
            in_doubt=True,
        ) from None


def _write(
    submission: Submission, folder: RunFolder, parent: str | None, relation: str | None
) -> tuple[dict[str, Any], Path]:
    """Write the bound pipeline into the folder. Returns what run.json is to say, and the package for the API."""
    uris = {name.removesuffix("_uri"): value for name, value in submission.arguments.items() if name.endswith("_uri")}
    found = lineages(tasks_of(submission.spec), submission.arguments, uris, submission.nonces)
    bound = bind_run(submission.spec, folder.id, found, submission.nonces)
    about = {
        **submission.about,
        "id": folder.id,
        "created": time.time(),
        "tasks": task_identities(bound, found, submission.nonces),
        "nonces": submission.nonces,
        "parent": parent,
        "relation": relation,
    }
    folder.write("pipeline.json", bound)
    folder.write("platform.json", submission.platform)
    package = folder.path / "pipeline.yaml"
    package.write_text(yaml.safe_dump_all([each for each in (bound, submission.platform) if each], sort_keys=False))
    return about, package


def _refuse_too_large(arguments: Mapping[str, str]) -> None:
    size = len(json.dumps(dict(arguments), ensure_ascii=False).encode())
    if size > MAX_PARAMETERS:
        longest = max(arguments, key=lambda name: len(arguments[name]))
        raise SettingsError(
            f"the run file's sections have {size} bytes as JSON, Kubeflow Pipelines takes {MAX_PARAMETERS}. The longest is {longest!r}. "
            "Shorten it."
        )
