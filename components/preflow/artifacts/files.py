"""Writing files so that they appear whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def clear(target: Path) -> None:
    """Remove what an earlier attempt left at `target`, be it a file or a folder."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


@contextmanager
def publish_file(target: str | Path) -> Iterator[Path]:
    """A temporary path beside `target`; on a clean exit it is flushed to disk and renamed, else removed."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        if target.is_dir():
            clear(target)
        os.chmod(temporary, 0o644)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def publish_folder(target: str | Path) -> Iterator[Path]:
    """A temporary folder beside `target`; on a clean exit it is flushed and renamed (the target cleared first)."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                _sync(path)
        os.chmod(temporary, 0o755)
        clear(target)
        temporary.rename(target)
        _sync(target.parent)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def copy_folder(source: str | Path, target: Path) -> None:
    """The files of a folder, but its manifest, which says where that folder came from."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifest.json"))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(target: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with publish_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | Path, value: Any, *, indent: int | None = None) -> None:
    """Write JSON (sorted keys), whole or not at all."""
    write_text(target, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=indent) + "\n")


def replace_json(target: Path, value: Any) -> None:
    """As `write_json`, without flushing to disk: for status files that are written ten times a second."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    temporary.replace(target)
