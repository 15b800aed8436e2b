"""Models and files that are not on this machine: fetched for a run here, named by their versions for one on a cluster."""

import hashlib
from pathlib import Path

from preflow.artifacts.ids import canonical_json
from preflow.artifacts.remote import HERE, WEIGHTS, RemoteFile, fetch, is_uri, resolve_files, resolve_model
from preflow.settings.plan import InputSpec, Plan
from preflow_pipelines.runners.suffixes import suffix_of


def fetch_model(place: str, home: Path, weights: bool = True) -> Path:
    """A local folder with the model behind a hub id or URI; without weights, what its tokenizer and config are made of."""
    files = [file for file in resolve_model(place) if weights or not file.name.endswith(WEIGHTS)]
    return _fetched(place, files, home)


def fetch_uri(uri: str, home: Path) -> Path:
    """A local copy of the object behind a URI, or of the folder of those below it."""
    files = resolve_files(uri)
    folder = _fetched(uri, files, home)
    return folder / files[0].name if len(files) == 1 and files[0].uri == uri else folder


def _fetched(place: str, files: list[RemoteFile], home: Path) -> Path:
    """$PREFLOW_HOME/downloads/<digest of place and versions>: another version is another folder."""
    identity = canonical_json([place, sorted((file.name, file.version) for file in files)])
    folder = home / "downloads" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    for file in files:
        if not (folder / file.name).is_file():
            fetch(file, folder / file.name)
    return folder


def remote_inputs(plan: Plan) -> dict[str, str]:
    """The inputs that lie elsewhere as a whole, each as settings of the step `fetch_input`."""
    return {name: _settings(spec) for name, spec in plan.inputs.items() if is_remote(spec)}


def is_remote(spec: InputSpec) -> bool:
    """Whether all of an input is where a pod can fetch it, too."""
    if spec.kind == "model":
        return not Path(spec.source).is_dir() and not spec.source.startswith(HERE)
    if spec.kind == "files":
        places = [place for split in spec.source.values() for place in split]
        return bool(places) and all(is_uri(place) and not place.startswith(HERE) for place in places)
    return False


def _settings(spec: InputSpec) -> str:
    if spec.kind == "model":
        files = resolve_model(spec.source)
    else:
        files = [file for split, places in spec.source.items() for file in _named_as_staged(split, places)]
    return canonical_json({"files": [vars(file) for file in files]})


def _named_as_staged(split: str, places: list[str]) -> list[RemoteFile]:
    """The names under which the input store would have them: import_data reads no others."""
    found = []
    for number, place in enumerate(places):
        stem, files = f"{split}/{number:03d}", resolve_files(place)
        single = len(files) == 1 and files[0].uri == place
        for file in files:
            name = stem + suffix_of(Path(file.name)) if single else f"{stem}/{file.name}"
            found.append(RemoteFile(name, file.uri, file.version))
    return found
