"""Files that are elsewhere: in an object store, or in a repository of the model hub. Each is named with the version it had.

A place is `s3://bucket/key`, `s3://bucket/prefix/`, `gs://...`, `minio://...`, or, for models, a hub id `org/name[@revision]`;
or `file:///path`, which only this machine can read.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from preflow.artifacts.bucket import ENDPOINT, SCHEMES, URI, Bucket
from preflow.artifacts.digests import file_sha256
from preflow.artifacts.files import publish_file
from preflow.errors import ArtifactError, ModelError, SettingsError

HUB, HERE = "hub", "file://"
WEIGHTS = ".safetensors"
MODEL_SUFFIXES = (".json", WEIGHTS, ".jinja", ".model", ".txt")


@dataclass(frozen=True)
class RemoteFile:
    """`name` is relative to the place; `version` an ETag, or the hub's commit."""

    name: str
    uri: str
    version: str


def is_uri(place: str) -> bool:
    return "://" in place


def resolve_files(uri: str) -> list[RemoteFile]:
    """The object behind a URI, or all below it, as they are now. Raises SettingsError if there are none, BucketError."""
    if uri.startswith(HERE):
        return _resolve_here(uri)
    bucket, key = _bucket(uri)
    names = [entry.name for entry in bucket.entries(key) if not entry.name.endswith("/")] or [key]
    found = []
    for name in names:
        version = bucket.version(name)
        if version is None:
            raise SettingsError(f"{uri}: is not there. Expected an object, or objects below it. Mend the address.")
        inside = name.removeprefix(key).strip("/") or Path(name).name
        found.append(RemoteFile(inside, bucket.uri_of(name), version))
    return found


def _resolve_here(uri: str) -> list[RemoteFile]:
    place = Path(uri.removeprefix(HERE))
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    if not files or not files[0].is_file():
        raise SettingsError(f"{uri}: is not there. Expected a file, or a folder of files. Mend the path.")
    root = place if place.is_dir() else place.parent
    return [RemoteFile(path.relative_to(root).as_posix(), HERE + str(path), file_sha256(path)) for path in files]


def resolve_model(place: str) -> list[RemoteFile]:
    """The files of a model that are worth fetching. Raises ModelError, SettingsError or BucketError."""
    found = resolve_files(place) if is_uri(place) else _resolve_hub(place)
    kept = [file for file in found if file.name.endswith(MODEL_SUFFIXES) and "/" not in file.name]
    if not any(file.name == "config.json" for file in kept):
        raise ModelError(f"{place}: no config.json there. Expected a folder that transformers' save_pretrained wrote.")
    return kept


def _resolve_hub(place: str) -> list[RemoteFile]:
    name, _, revision = place.partition("@")
    try:
        from huggingface_hub import HfApi

        found = HfApi().model_info(name, revision=revision or None)
    except ImportError:
        raise ModelError(f"model {place!r}: no such folder, and hub ids need huggingface_hub. Install it.") from None
    except Exception as error:  # the hub's client raises many kinds
        raise _hub_refuses(place, error) from None
    return [RemoteFile(each.rfilename, f"{HUB}://{name}", str(found.sha)) for each in found.siblings or []]


def _hub_refuses(place: str, error: Exception) -> ModelError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(
        f"model {place!r}: no such folder, and the hub did not give it ({type(error).__name__}: {first}). Expected a folder "
        "with config.json, a URI, or a hub id. Mend `model`."
    )


def fetch(file: RemoteFile, target: Path) -> None:
    """Write the file to `target`, whole. Raises ArtifactError if it is another version by now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.uri.startswith(f"{HUB}://"):
        _fetch_from_hub(file, target)
        return
    if file.uri.startswith(HERE):
        with publish_file(target) as temporary:
            shutil.copyfile(file.uri.removeprefix(HERE), temporary)
        return
    bucket, key = _bucket(file.uri)
    version = bucket.version(key)
    if version is None:
        raise ArtifactError(
            f"{file.uri}: is not there. Expected its version {file.version}. Mend the address, or put it back."
        )
    if version != file.version:
        raise ArtifactError(
            f"{file.uri}: was changed after the run was submitted. Expected its version {file.version}. Submit again."
        )
    bucket.download(key, target)


def _fetch_from_hub(file: RemoteFile, target: Path) -> None:
    from huggingface_hub import hf_hub_download

    name = file.uri.removeprefix(f"{HUB}://")
    try:
        place = hf_hub_download(name, file.name, revision=file.version)
    except Exception as error:
        raise _hub_refuses(name, error) from None
    with publish_file(target) as temporary:
        shutil.copyfile(place, temporary)


def _bucket(uri: str) -> tuple[Bucket, str]:
    scheme, _, place = uri.partition("://")
    if scheme not in SCHEMES:
        raise SettingsError(f"{uri}: expected {'://, '.join(SCHEMES)}://, or a path. Mend the address.")
    name, _, key = place.partition("/")
    return Bucket(f"{scheme}://{name}", _endpoint(scheme)), key.rstrip("/")


def _endpoint(scheme: str) -> str | None:
    """Of the context's own store for addresses of its scheme, else where the AWS variables lead."""
    if os.environ.get(URI, "").startswith(f"{scheme}://") and os.environ.get(ENDPOINT):
        return os.environ[ENDPOINT]
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
