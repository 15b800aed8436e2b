"""Models and files that are not on this machine: hub ids (pinned to a revision) and URIs that fsspec knows."""

import hashlib
from pathlib import Path

from preflow.artifacts.files import publish_folder
from preflow.errors import ModelError, SettingsError

MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


def is_uri(place: str) -> bool:
    return "://" in place


def fetch_model(place: str, home: Path) -> Path:
    """A local folder with the model behind a hub id (`org/name[@revision]`) or a URI. Raises ModelError."""
    if is_uri(place):
        return fetch_uri(place, home)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(
            f"model {place!r}: no such folder, and hub ids need huggingface_hub: pip install 'preflow[train]'."
        ) from None
    name, _, revision = place.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=MODEL_FILES))
    except Exception as error:  # the hub's client raises many kinds
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"model {place!r}: no such folder, and the hub did not give it ({type(error).__name__}: {first}). Expected a folder with config.json."
        ) from None


def fetch_uri(uri: str, home: Path) -> Path:
    """A local copy of a file or folder behind s3://, gs:// or another URI, in $PREFLOW_HOME/downloads."""
    import fsspec

    target = home / "downloads" / hashlib.sha256(uri.encode()).hexdigest()[:32] / Path(uri).name
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        with publish_folder(target.parent) as folder:
            filesystem.get(path, str(folder / target.name), recursive=filesystem.isdir(path))
    except Exception as error:  # every store has its own errors
        raise SettingsError(
            f"{uri}: cannot be read ({type(error).__name__}: {error}). Check the address, the credentials and the network."
        ) from None
    return target
