"""What lies in a home that no kept run needs: found, and freed when asked to.

A run is kept unless it began before `Keeping.since`; always if it goes on, is named, or made what a kept run reused. Two
rules protect what is just beginning. What was written within the hour is spared, and an input that is staged again counts
as written. And nobody stages while things are freed, so no run begins meanwhile.
"""

import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from preflow.artifacts.files import clear
from preflow.tracking.locks import held, is_held
from preflow_pipelines.runners.folder import RunFolder
from preflow_pipelines.runners.locks import exclusive

HOUR, DAY = 3600.0, 86400.0
UNCLAIMED_DAYS = 30  # a checkpoint that does not say whose it is
RUNS, INPUTS, CHECKPOINTS, CACHE, DOWNLOADS = "runs", "inputs", "checkpoints", "cache", "downloads"
TEMPORARY, DAMAGED, LOCKS = "temporary files", "damaged outputs", "locks"
REUSED = re.compile(r'(?:/runs/|"origin": ")([^/"]+)')
"""In a record: the runs in whose folders its inputs and outputs lie."""
STORED = re.compile(r"/inputs/([\w.-]+)")
"""In a run.json: the inputs that it names."""
Found = tuple[str, str, Path]
"""Kind, why nobody needs it, and where it is."""


@dataclass(frozen=True)
class Keeping:
    """Which runs are kept: those that began at `since` (epoch seconds) or later, and those that are named."""

    since: float = 0.0
    named: frozenset[str] = frozenset()

    def keeps(self, run: str, created: float) -> bool:
        return created >= self.since or run in self.named


@dataclass(frozen=True)
class Garbage:
    """A thing that nobody needs, by its name below the home or the bucket, and the bytes that its end gives back."""

    kind: str
    name: str
    why: str
    bytes: int


def find(home: Path, keeping: Keeping, now: float | None = None) -> list[Garbage]:
    """What nobody needs. Nothing is changed."""
    return _Home(home, keeping, now).find()


def spared(home: Path, keeping: Keeping) -> tuple[list[str], list[str]]:
    """(runs that go on, runs that are kept only because those may still reuse what they made)."""
    now, alone = _Home(home, keeping), _Home(home, keeping, going=[])
    return now.going, sorted(now.kept - alone.kept - set(now.going))


def free(
    home: Path, keeping: Keeping, shown: Collection[Garbage], now: float | None = None
) -> Iterator[tuple[Garbage, str]]:
    """Free of what was shown all that still nobody needs. Yields each thing and why it could not be freed, or ""."""
    names = {each.name for each in shown}
    with exclusive(home / "cache" / "locks" / "inputs"):
        place = _Home(home, keeping, now)
        for each in place.find():
            if each.name in names:
                yield each, place.free(each)


class _Home:
    """A home as it is now. `going` are the local runs that go on: their next tasks may reuse what any run made."""

    def __init__(self, home: Path, keeping: Keeping, now: float | None = None, going: list[str] | None = None):
        self.home, self.keeping, self.now = home, keeping, now or time.time()
        found = [RunFolder(path.parent) for path in (home / "runs").glob("*/run.json")]
        self.runs = {run.id: run for run in found if not run.id.startswith(".")}
        self.going = _going(home) if going is None else going
        self.kept = set(self.runs) if self.going else self._kept()
        self.old = self.runs.keys() - self.kept

    def _kept(self) -> set[str]:
        kept: set[str] = set()
        todo = [run for run in self.runs.values() if self._is_wanted(run)]
        while todo:
            run = todo.pop()
            if run.id not in kept:
                kept.add(run.id)
                todo += [self.runs[name] for name in _reused_by(run) if name in self.runs]
        return kept

    def _is_wanted(self, run: RunFolder) -> bool:
        """By itself. One that cannot be read is: what it needs is not known."""
        about = run.read("run.json")
        if about is None or self.keeping.keeps(run.id, about.get("created", self.now)):
            return True
        return run.state == "RUNNING" or is_held(run.path / "recorder.lock")

    def find(self) -> list[Garbage]:
        """In the order in which it is to be freed."""
        found = [
            *(
                (RUNS, "older than asked for; no kept run reuses their outputs", self.runs[name].path)
                for name in sorted(self.old)
            ),
            *self._no_runs(),
            *self._rubbish(),
            *self._inputs(),
            *self._checkpoints(),
            *self._cache(),
            *self._downloads(),
            *self._locks(),
        ]
        measure = _Measure()
        return [
            Garbage(kind, path.relative_to(self.home).as_posix(), why, measure.freed(path)) for kind, why, path in found
        ]

    def _settled(self, path: Path, seconds: float = HOUR) -> bool:
        return self.now - _newest(path) > seconds

    def _below(self, *parts: str) -> list[Path]:
        return sorted(self.home.joinpath(*parts[:-1]).glob(parts[-1]))

    def _no_runs(self) -> Iterator[Found]:
        for path in self._below("runs", "*"):
            if path.name in self.runs or not path.is_dir() or is_held(path / "alive.lock"):
                continue
            if path.name.startswith("."):
                yield RUNS, "left of runs that were freed", path
            elif self._settled(path, DAY):
                yield RUNS, "never began", path

    def _rubbish(self) -> Iterator[Found]:
        for name in sorted(self.kept):
            run = self.runs[name]
            for path in sorted(run.path.glob("outputs/*/*/*.damaged-*")):
                if self._settled(path):
                    yield DAMAGED, "set aside, and made again", path
            if (run.path / "tmp").is_dir() and run.state != "RUNNING" and self._settled(run.path / "tmp"):
                yield TEMPORARY, "of steps that were killed", run.path / "tmp"

    def _inputs(self) -> Iterator[Found]:
        named = {name for run in self.kept for name in STORED.findall(_text(self.runs[run].path / "run.json"))}
        for path in self._below("inputs", "*"):
            if path.name not in named and self._settled(path):
                yield INPUTS, "no kept run reads them", path

    def _checkpoints(self) -> Iterator[Found]:
        for path in self._below("checkpoints", "*"):
            lock = path.with_name(f"{path.name}.lock")
            if path.is_dir() and self._settled(path) and not is_held(lock) and not self._is_claimed(path, lock):
                yield CHECKPOINTS, "no kept run is to go on from them", path

    def _is_claimed(self, checkpoints: Path, lock: Path) -> bool:
        """By a kept run that has not succeeded; the lock names the runs that trained there."""
        claims = _text(lock).split()
        if not claims:
            return not self._settled(checkpoints, UNCLAIMED_DAYS * DAY)
        return any(name in self.kept and self.runs[name].state != "SUCCEEDED" for name in claims)

    def _cache(self) -> Iterator[Found]:
        for path in self._below("cache", "*.json"):
            if len(path.stem) == 64 and any(self._is_gone(uri) for uri in _outputs(path)):
                yield CACHE, "what they lead to is gone, or goes with this", path
        for path in self._below("cache", ".kfp_cache_*.tmp"):
            if self._settled(path):
                yield CACHE, "half written", path

    def _is_gone(self, uri: str) -> bool:
        path, runs = Path(uri), self.home / "runs"
        if "://" in uri:
            return False
        return not path.exists() or (path.is_relative_to(runs) and path.relative_to(runs).parts[0] in self.old)

    def _downloads(self) -> Iterator[Found]:
        """Weights that the input store has hard-linked stay: to free them gives nothing back."""
        for path in self._below("downloads", "*"):
            if self._settled(path) and all(status.st_nlink == 1 for status in _files(path)):
                yield DOWNLOADS, "copied into inputs; fetched again when a run file names them", path

    def _locks(self) -> Iterator[Found]:
        if self.going:
            return
        of_checkpoints = [path for path in self._below("checkpoints", "*.lock") if not path.with_suffix("").is_dir()]
        for path in [*self._below("cache", "locks", "*"), *of_checkpoints]:
            if path.name != "inputs" and self._settled(path) and not is_held(path):
                yield LOCKS, "held by nobody", path

    def free(self, each: Garbage) -> str:
        """Why it could not be freed; "" if it is gone."""
        path = self.home / each.name
        try:
            if each.kind == RUNS and path.name in self.runs:
                if going := _going(self.home):
                    return f"{path}: run {going[0]} has begun, and may reuse it. Try again when it is over."
                path = path.rename(path.with_name(f".{path.name}.freed"))  # at once: nobody finds half of it
                (path / "run.json").unlink()
            lock = path.with_name(f"{path.name}.lock") if each.kind == CHECKPOINTS else path
            if each.kind in (CHECKPOINTS, LOCKS):
                with held(lock) as mine:
                    if not mine:
                        return f"{path}: in use. Try again when it is not."
                    clear(path)
            clear(path)
        except OSError as error:
            if path.exists():
                return f"{error.filename or path}: cannot be deleted ({error.strerror}). Delete {path} by hand."
        return ""


class _Measure:
    """Bytes that are given back when one thing after another goes: a file counts when its last name goes."""

    def __init__(self) -> None:
        self._links: Counter[tuple[int, int]] = Counter()

    def freed(self, path: Path) -> int:
        total = 0
        for status in _files(path):
            self._links[status.st_dev, status.st_ino] += 1
            if self._links[status.st_dev, status.st_ino] == status.st_nlink:
                total += status.st_size
        return total


def _going(home: Path) -> list[str]:
    return sorted(path.parent.name for path in (home / "runs").glob("*/alive.lock") if is_held(path))


def _reused_by(run: RunFolder) -> set[str]:
    return {name for path in run.path.glob("steps/*.record.json") for name in REUSED.findall(_text(path))}


def _outputs(entry: Path) -> list[str]:
    """The URIs in an entry of kfp's cache. One that cannot be read leads nowhere, for kfp too."""
    try:
        return [each["uri"] for each in json.loads(_text(entry)).values() if isinstance(each, dict) and "uri" in each]
    except ValueError:
        return [str(entry / "unreadable")]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _tree(path: Path) -> Iterator[os.stat_result]:
    """Of a path and all below it; what goes meanwhile is left out."""
    for each in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        try:
            yield each.lstat()
        except OSError:
            continue


def _files(path: Path) -> list[os.stat_result]:
    return [status for status in _tree(path) if not stat.S_ISDIR(status.st_mode)]


def _newest(path: Path) -> float:
    return max((status.st_mtime for status in _tree(path)), default=0.0)
