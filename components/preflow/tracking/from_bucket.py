"""A run's folder from the bucket: what its pods said, and what it reused, as if it had run on this machine.

Outputs that a page or a table is made of are fetched; models and data stay where they are, and their record keeps the URI.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from preflow.artifacts.bucket import Bucket
from preflow.artifacts.files import clear, replace_json, write_json
from preflow.errors import BucketError, ClusterError
from preflow.tracking.json_files import read_json
from preflow.tracking.lineage import needed_tasks

FETCHED = ("journal", "page", "samples", "numbers")
"""Outputs that people look at."""
SEEN, RECORD = "mirror.json", ".record.json"
Times = tuple[float, float]


def bucket_of(cluster: Mapping[str, Any]) -> Bucket | None:
    """The bucket of a run on a cluster: this pod's, or the one that the run's cluster.json names; None if it is not said."""
    own = Bucket.from_environment()
    if own is not None or "bucket" not in cluster:
        return own
    try:
        return Bucket(cluster["bucket"], cluster.get("endpoint"))
    except BucketError:  # its address is not said
        return None


def fetch_run(bucket: Bucket, run: str, folder: Path) -> None:
    """Bring what the run and its pods wrote into `folder`; files that did not change are not fetched again."""
    seen = read_json(folder / SEEN) or {}
    for entry in bucket.entries(f"runs/{run}"):
        name, state = entry.name.removeprefix(f"runs/{run}/"), [entry.size, entry.modified]
        if seen.get(name) == state or (name == "run.json" and (folder / name).is_file()):
            continue
        content = bucket.read(entry.name)
        if content is not None:  # else it went while we looked
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            temporary = (folder / name).with_name(f".{Path(name).name}.part")
            temporary.write_bytes(content)
            temporary.replace(folder / name)
            seen[name] = state
            if name.endswith(RECORD):  # of another try, whose outputs are others
                clear(folder / "outputs" / Path(name).name.removesuffix(RECORD))
    replace_json(folder / SEEN, seen)
    if not (folder / "run.json").is_file():
        raise ClusterError(
            f"run {run}: {bucket.uri_of(f'runs/{run}')} is empty. Expected what submit wrote. Was it deleted?"
        )


def reuse_times(spec: Mapping[str, Any], folder: Path, tasks: Iterable[str]) -> dict[str, Times]:
    """When tasks without a record were reused, where only the cluster knows: as soon as what they need was done."""
    about = read_json(folder / "run.json")
    assert about is not None
    ended: dict[str, float] = {}
    for path in (folder / "steps").glob(f"*{RECORD}"):
        ended[path.name.removesuffix(RECORD)] = float((read_json(path) or {"ended": about["created"]})["ended"])
    times = {}
    for task in tasks:
        if task not in ended:
            ended[task] = max([about["created"], *(ended[each] for each in needed_tasks(spec, task) if each in ended)])
            times[task] = (ended[task], ended[task])
    return times


def settle_reused(bucket: Bucket, folder: Path, reused: Mapping[str, Times]) -> None:
    """Write the records of tasks that the cluster took from its cache; `reused` maps a task to its (start, end)."""
    about = read_json(folder / "run.json")
    assert about is not None
    for task, (started, ended) in reused.items():
        target = folder / "steps" / f"{task}.record.json"
        if target.is_file():
            continue
        planned = about["tasks"][task]
        record = bucket.read_json(f"steps/{planned['lineage']}.json")
        if record is None:  # where it was executed is not known
            record = {"task": task, "step": planned["step"], "arguments": {"key": planned["key"]}, "outputs": {}}
            record |= {"files": {}, "origin": None, "key": planned["key"]}
        seconds = round(ended - started, 3)
        more = {"task": task, "state": "CACHED", "started": started, "ended": ended, "seconds": seconds, "error": None}
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, record | more)


def fetch_outputs(bucket: Bucket, folder: Path) -> list[str]:
    """Fetch the outputs that people look at; a record then names the file here, and its URI under `uris`.

    Returns what could not be fetched: deleted from the store, or not there yet.
    """
    missing = []
    for path in sorted((folder / "steps").glob("*.record.json")):
        record = read_json(path)
        if record is None or "uris" in record:
            continue
        outputs = dict(record["outputs"])
        whole = True
        for name in FETCHED:
            if name in outputs:
                target = folder / "outputs" / record["task"] / name
                try:
                    if not target.exists():
                        bucket.download(bucket.name_of(outputs[name]), target)
                    outputs[name] = str(target)
                except BucketError as error:
                    missing.append(f"{record['task']}: {error}")
                    whole = False
        if whole:
            write_json(path, record | {"outputs": outputs, "uris": record["outputs"]}, indent=1)
    return missing


def record_of_killed(task: str, planned: Mapping[str, Any], error: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a task that could not say itself how it ended."""
    now = time.time()
    return {
        "task": task,
        "step": planned["step"],
        "state": "FAILED",
        "started": now,
        "ended": now,
        "seconds": 0.0,
        "arguments": {"key": planned["key"]},
        "outputs": {},
        "uris": {},
        "files": {},
        "origin": None,
        "key": planned["key"],
        "error": dict(error),
    }
