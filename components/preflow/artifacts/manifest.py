"""Folders as artifacts: `manifest.json` names every file with its size and sha256."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.files import write_json
from preflow.artifacts.ids import canonical_json
from preflow.errors import ArtifactError

NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """`files` maps relative names to {"size": bytes, "sha256": hex}; `facts` say where the folder comes from."""

    files: dict[str, dict[str, Any]]
    facts: dict[str, Any]

    @property
    def digest(self) -> str:
        """The sha256 over names and contents."""
        return contents_digest({name: entry["sha256"] for name, entry in self.files.items()})


def contents_digest(files: dict[str, str]) -> str:
    """One sha256 for a folder, from relative name -> sha256."""
    return hashlib.sha256(canonical_json(files).encode()).hexdigest()


def describe_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file below `folder`, but its manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in paths
    }


def file_digests(place: Path) -> dict[str, str]:
    """sha256 by relative name, of what the files hold and not of what a manifest claims; "." for a single file."""
    if place.is_dir():
        return {name: entry["sha256"] for name, entry in describe_folder(place).items()}
    return {".": file_sha256(place)} if place.is_file() else {}


def write_manifest(folder: str | Path, facts: dict[str, Any] | None = None) -> Manifest:
    """Describe all files that are in `folder` now."""
    folder = Path(folder)
    manifest = Manifest(describe_folder(folder), facts or {})
    write_json(folder / NAME, {"kind": "model/v1", "files": manifest.files, "facts": manifest.facts}, indent=1)
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """Raises ArtifactError if there is none."""
    path = Path(folder) / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(content["files"], content["facts"])
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{folder}: no {NAME}. Expected a folder that a step has finished.") from None
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{path}: unreadable ({error}). Delete the folder and run the step again.") from None


def verify_manifest(folder: str | Path) -> Manifest:
    """The manifest, after comparing every file with it. Raises ArtifactError naming the first file that differs."""
    folder, manifest = Path(folder), read_manifest(folder)
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path}: missing, but {NAME} lists it. Delete the folder and run the step again.")
        if path.stat().st_size != entry["size"] or file_sha256(path) != entry["sha256"]:
            raise ArtifactError(f"{path}: differs from {NAME}. Delete the folder and run the step again.")
    return manifest
