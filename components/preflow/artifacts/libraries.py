"""What stands behind the foreign names that code imports: a part of a task's cache key.

An installed library has a version. Code that is found elsewhere (on PYTHONPATH, in an editable installation) can change
without one: it counts by its bytes, and so does what it imports.
"""

import hashlib
import importlib.metadata
import importlib.util
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from preflow.artifacts.code import PACKAGE, file_imports

DISTRIBUTIONS = {
    "yaml": "PyYAML",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "cv2": "opencv-python",
    "bs4": "beautifulsoup4",
}


def library_versions(foreign: Iterable[str]) -> dict[str, str]:
    """Versions of the distributions behind top names, digests of what is no library; what is not there is left out."""
    versions: dict[str, str] = {}
    todo, seen = set(foreign), {PACKAGE}
    while todo:
        name = todo.pop()
        seen.add(name)
        files = _own_files(name)
        if files:
            versions[name] = _digest(files)
            todo |= {each for path in files for each in _imports(path)} - seen
        elif version := _version(name):
            versions[version[0]] = version[1]
    return dict(sorted(versions.items()))


def _own_files(name: str) -> list[Path]:
    """The Python files of a top name, if it is no installed library."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    places = folders or [Path(spec.origin or "")]
    libraries = [Path(sysconfig.get_path(which)) for which in ("purelib", "platlib", "stdlib")]
    if any(place.is_relative_to(library) for place in places for library in libraries):
        return []
    files = [path for folder in folders for path in folder.rglob("*.py")] or places
    return sorted(path for path in files if path.is_file() and "site-packages" not in path.parts)


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:12]


def _imports(path: Path) -> tuple[str, ...]:
    try:
        return file_imports(path)
    except (SyntaxError, ValueError):  # templates, compiled modules: their bytes have to do
        return ()


def _version(name: str) -> tuple[str, str] | None:
    """(distribution, version) of an installed library."""
    try:
        distribution = DISTRIBUTIONS.get(name, name)
        return distribution, importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        if importlib.util.find_spec(name) is None or not (found := _distributions().get(name)):
            return None
        return found[0], importlib.metadata.version(found[0])


@cache
def _distributions() -> dict[str, list[str]]:
    """Top name -> distributions. Slow (0.1 s), and needed only where the two are called differently."""
    return dict(importlib.metadata.packages_distributions())
