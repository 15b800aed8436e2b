"""The input store: what enters a workflow from outside, under its content digest, so that the path is the digest.

$PREFLOW_HOME/inputs/<sha256>[.ext]; names and places of the user's files do not count, their bytes do.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflow.artifacts.digests import DigestIndex
from preflow.artifacts.files import clear, publish_file, publish_folder
from preflow.artifacts.manifest import NAME as MANIFEST
from preflow.artifacts.manifest import Manifest, contents_digest, read_manifest, write_manifest
from preflow.artifacts.remote import is_uri
from preflow.errors import ArtifactError, ModelError, SettingsError
from preflow.settings.plan import InputSpec
from preflow.text.stage import stage_tokenizer
from preflow_pipelines.runners.locks import exclusive
from preflow_pipelines.runners.remote import fetch_model, fetch_uri
from preflow_pipelines.runners.suffixes import suffix_of

MODEL_PATTERNS = ("*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt")


@dataclass(frozen=True)
class StagedInput:
    """`uri` is where the input lies in the store; `files` maps names in the store to the user's own paths."""

    uri: str
    digest: str
    files: dict[str, str] = field(default_factory=dict)

    def is_whole(self, index: DigestIndex) -> bool:
        """Whether what lies in the store still has the digest under which it lies there."""
        path = Path(self.uri)
        try:
            if path.is_file():
                return index.sha256(path) == self.digest
            names = read_manifest(path).files
            return contents_digest({name: index.sha256(path / name) for name in names}) == self.digest
        except (ArtifactError, OSError):
            return False


class InputStore:
    """Stages inputs by content. Safe for several processes at once; what is there already is verified, not copied."""

    def __init__(self, home: Path, index: DigestIndex, say: Callable[[str], None] = lambda text: None):
        self.home, self.folder, self.index, self.say = home, home / "inputs", index, say

    def stage(self, spec: InputSpec, kept: StagedInput | None = None) -> StagedInput:
        """`kept` is what another run staged: it is taken if it is still there, whatever became of the user's files.

        Raises SettingsError, ModelError or ScorerError for what cannot be read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self.home / "cache" / "locks" / "inputs"):
            staged = kept if kept and kept.is_whole(self.index) else self._stage(spec)
            os.utime(staged.uri)  # as new: `preflow gc` spares what was staged within the hour
        if kept and kept.digest != staged.digest:
            self.say(f"{spec.name}: the store has lost what the run read; taken from {spec.source} as it is now")
        return staged

    def _stage(self, spec: InputSpec) -> StagedInput:
        stagers: dict[str, Callable[[Any], StagedInput]] = {
            "files": self._files,
            "model": self._model,
            "tokenizer": self._tokenizer,
            "scorer": self._scorer,
        }
        return stagers[spec.kind](spec.source)

    def local_model(self, place: str, weights: bool = True) -> Path:
        """The folder of a model, fetched if it is elsewhere; `weights` may stay there where its tokenizer is all."""
        if Path(place).is_dir():
            return Path(place)
        self.say(f"fetching {'model' if weights else 'tokenizer of'} {place}")
        return fetch_model(place, self.home, weights)

    def local_file(self, place: str) -> Path:
        """A file or folder with data, fetched if it is elsewhere."""
        return fetch_uri(place, self.home) if is_uri(place) else Path(place)

    def _files(self, source: dict[str, list[str]]) -> StagedInput:
        contents: dict[str, Path] = {}
        names: dict[str, str] = {}
        for split, places in source.items():
            for number, place in enumerate(places):
                path = self.local_file(place)
                stem = f"{split}/{number:03d}"
                inside = _files_below(path) if path.is_dir() else [path]
                for each in inside:
                    name = f"{stem}/{each.relative_to(path).as_posix()}" if path.is_dir() else stem + suffix_of(path)
                    contents[name] = each
                names[stem if path.is_dir() else stem + suffix_of(path)] = place
        return self._folder_of(contents, names, link=False)

    def _model(self, place: str) -> StagedInput:
        folder = self.local_model(place)
        contents = {
            path.name: path for pattern in MODEL_PATTERNS for path in folder.glob(pattern) if path.name != MANIFEST
        }
        if "config.json" not in contents:
            raise ModelError(f"{place}: no config.json. Expected a folder that transformers' save_pretrained wrote.")
        if not any(name.endswith(".safetensors") for name in contents):
            raise ModelError(
                f"{place}: no *.safetensors. Pickled weights are not loaded; save the model with safe_serialization=True."
            )
        return self._folder_of(contents, {".": place}, link=True)

    def _tokenizer(self, source: dict[str, Any]) -> StagedInput:
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            stage_tokenizer(self.local_model(source["model"], weights=False), temporary, source["text"])
            contents = {path.name: path for path in Path(temporary).iterdir()}
            return self._folder_of(contents, {".": source["model"]}, link=False)

    def _scorer(self, reference: str | None) -> StagedInput:
        """One file: the user's Python file or preference matrix, a line that imports a function from a module, or nothing."""
        if reference is None:
            return self._text("", "none")
        if reference.endswith(".json"):
            return self._script(reference, "a JSON file with a preference matrix", ".json")
        place, _, function = reference.rpartition(":")
        if not place.endswith(".py"):
            return self._text(f"from {place} import {function}\n", reference)
        return self._script(place, "a Python file", ".py")

    def _script(self, place: str, expected: str, suffix: str) -> StagedInput:
        try:
            return self._text(Path(place).read_text(encoding="utf-8"), place, suffix)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{place}: cannot be read ({error}). Expected {expected} in UTF-8.") from None

    def _text(self, text: str, origin: str, suffix: str = ".py") -> StagedInput:
        content = text.encode()
        digest = hashlib.sha256(content).hexdigest()
        staged = StagedInput(str(self.folder / f"{digest}{suffix}"), digest, {".": origin})
        if not staged.is_whole(self.index):
            with publish_file(staged.uri) as temporary:
                temporary.write_bytes(content)
        return staged

    def _folder_of(self, contents: dict[str, Path], names: dict[str, str], link: bool) -> StagedInput:
        try:
            digests = {name: self.index.sha256(path) for name, path in sorted(contents.items())}
        except OSError as error:
            raise SettingsError(
                f"{error.filename}: cannot be read ({error.strerror}). Check the path and its permissions."
            ) from None
        digest = contents_digest(digests)
        target = self.folder / digest
        staged = StagedInput(str(target), digest, names)
        if not self._is_there(staged):
            size = sum(path.stat().st_size for path in contents.values())
            if size > 1 << 28:
                self.say(f"copying {size / 1e9:.1f} GB into the input store")
            with publish_folder(target) as temporary:
                for name, path in contents.items():
                    self._place(path, temporary / name, link and name.endswith(".safetensors"))
                _check_unchanged(write_manifest(temporary), digests, contents)
            for name in contents:
                self.index.remember(target / name, digests[name])
        return staged

    def _is_there(self, staged: StagedInput) -> bool:
        """Whether the store holds a folder whole; one that was changed from outside is removed."""
        folder = Path(staged.uri)
        if not folder.exists():
            return False
        if staged.is_whole(self.index):
            return True
        self.say(f"{folder} was changed from outside; it is made again")
        clear(folder)
        return False

    def _place(self, source: Path, target: Path, link: bool) -> None:
        """Copy, or hard-link big weights where the file system can: in-place edits are found by the digest index."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            try:
                self.index.link(source, target)
                return
            except OSError:
                pass
        shutil.copyfile(source, target)


def _check_unchanged(stored: Manifest, digests: dict[str, str], contents: dict[str, Path]) -> None:
    """Under a digest lie the bytes that have it, or nothing."""
    for name, digest in digests.items():
        if stored.files[name]["sha256"] != digest:
            raise SettingsError(
                f"{contents[name]} was changed while it was read. Expected a file that nobody writes to. Start again."
            )


def _files_below(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


@contextmanager
def open_store(home: Path, say: Callable[[str], None] = lambda text: None) -> Iterator[InputStore]:
    """A store whose digest index is saved at the end."""
    index = DigestIndex(home / "cache" / "digests.json")
    try:
        yield InputStore(home, index, say)
    finally:
        index.save()
