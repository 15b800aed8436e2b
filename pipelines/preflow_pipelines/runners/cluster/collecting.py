"""What lies in a cluster's bucket that no kept run needs: inputs, and checkpoints of trainings that are not to go on.

A run is kept unless it began before `Keeping.since`, and always while nothing says that it is over. What was written within
the hour is spared: a lease that is alive, and what is uploaded for a run that is just being submitted.

artifacts/ stay, whosever they are: the cache of Kubeflow Pipelines does not look whether a blob is still there, and a step
that reuses one that was deleted reads an empty input. What runs said about themselves stays too.
"""

import json
import re
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from preflow.artifacts.bucket import Bucket
from preflow.errors import BucketError
from preflow_pipelines.runners.collecting import CHECKPOINTS, HOUR, INPUTS, Garbage, Keeping

STORED = re.compile(r"\binputs/([\w.-]+)")
"""In a run.json: the inputs that it names."""
READERS = 16


@dataclass(frozen=True)
class _Run:
    """`state` is None while nothing says that the run is over; `text` is its run.json."""

    name: str
    text: str
    about: dict[str, Any]
    state: str | None

    @property
    def lineages(self) -> set[str]:
        return {task["lineage"] for task in self.about["tasks"].values()}

    def is_kept(self, keeping: Keeping) -> bool:
        return self.state is None or keeping.keeps(self.name, self.about["created"])


def find_in_bucket(bucket: Bucket, keeping: Keeping, now: float | None = None) -> list[Garbage]:
    """What nobody needs. Nothing is changed. Raises BucketError."""
    now = now or time.time()
    stored = {**_folders(bucket, INPUTS), **_folders(bucket, CHECKPOINTS)}  # before the runs: theirs is the last word
    settled = {name: size for name, (size, newest) in stored.items() if now - newest > HOUR}
    if not settled:
        return []
    kept = [run for run in _runs(bucket) if run.is_kept(keeping)]
    needed = {f"{INPUTS}/{name}" for run in kept for name in STORED.findall(run.text)}
    needed |= {f"{CHECKPOINTS}/{name}" for run in kept if run.state != "SUCCEEDED" for name in run.lineages}
    why = {INPUTS: "no kept run reads them", CHECKPOINTS: "no kept run is to go on from them"}
    return [
        Garbage(kind, name, why[kind], size)
        for name, size in sorted(settled.items(), key=lambda item: (item[0].startswith(CHECKPOINTS), item[0]))
        if name not in needed and (kind := name.partition("/")[0])
    ]


def free_in_bucket(
    bucket: Bucket, keeping: Keeping, shown: Collection[Garbage], now: float | None = None
) -> Iterator[tuple[Garbage, str]]:
    """Free of what was shown all that still nobody needs. Yields each thing and why it could not be freed, or ""."""
    seen, needless = None, set[str]()
    for each in shown:
        if (runs := bucket.names("runs")) != seen:  # at first, and when somebody submitted one meanwhile
            seen, needless = runs, {found.name for found in find_in_bucket(bucket, keeping, now)}
        if each.name not in needless:
            continue
        try:
            bucket.delete(each.name)
            yield each, ""
        except BucketError as error:
            yield each, str(error)


def _folders(bucket: Bucket, kind: str) -> dict[str, tuple[int, float]]:
    """What lies directly below `kind`: its bytes, and when the last of it was written."""
    found: dict[str, tuple[int, float]] = {}
    for entry in bucket.entries(kind):
        name = "/".join(entry.name.split("/")[:2])
        size, newest = found.get(name, (0, 0.0))
        found[name] = size + entry.size, max(newest, entry.modified)
    return found


def _runs(bucket: Bucket) -> list[_Run]:
    with ThreadPoolExecutor(READERS) as readers:
        return [run for run in readers.map(lambda name: _read(bucket, name), bucket.names("runs")) if run]


def _read(bucket: Bucket, name: str) -> _Run | None:
    place = f"runs/{name}"
    content = bucket.read(f"{place}/run.json")
    if content is None:
        return None
    try:
        end = bucket.read_json(f"{place}/end.json")
        return _Run(name, content.decode(), json.loads(content), end["state"] if end else None)
    except ValueError:  # what it needs is not known
        raise BucketError(
            f"{bucket.uri_of(place)}: run.json or end.json is no JSON. Expected what submit wrote. Delete the folder."
        ) from None
