"""Why each step of a run was executed or reused, from run folders alone."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflow.artifacts.code import parse_key
from preflow_pipelines.runners.folder import RunFolder, all_runs, ended_as

Record = Mapping[str, Any]


def explain(run: RunFolder, home: Path) -> Iterator[tuple[str, str, str]]:
    """(task, state, reason) for every task of the run, in its order."""
    earlier = [other for other in all_runs(home) if other.about["created"] < run.about["created"]]
    for task in run.about["order"]:
        record = run.record(task)
        if record is None:
            yield (task, *_without_a_record(run, task))
        elif record["state"] == "CACHED":
            yield task, "CACHED", f"reused from {record['origin']}: same inputs, settings and code"
        elif "settings" not in record["arguments"]:  # it could not say itself what it was to do, nor how it ended
            yield task, ended_as(record), str(record["error"]["message"]).splitlines()[0]
        else:
            yield task, ended_as(record), _reason(run, task, record, earlier)


def _without_a_record(run: RunFolder, task: str) -> tuple[str, str]:
    if run.state != "RUNNING":
        return "SKIPPED", "not reached"
    progress = run.read(f"steps/{task}.progress.json")
    if progress:
        return "RUNNING", f"{progress['done']} of {progress['total']} {progress['unit']}"
    return ("RUNNING", "has begun") if run.step_json(task) else ("WAITING", "has not begun")


def _reason(run: RunFolder, task: str, record: Record, earlier: list[RunFolder]) -> str:
    """Against the most similar earlier execution; ties go to the latest."""
    candidates = []
    for other in reversed(earlier):
        before = other.record(task)
        if before and before["state"] == "EXECUTED":
            candidates.append((other, differences(other, before, run, record)))
    if not candidates:
        return "first execution of this step here"
    other, found = min(candidates, key=lambda candidate: len(candidate[1]))
    return f"vs {other.id}: {'; '.join(found) if found else 'its outputs were gone or damaged'}"


def differences(before_run: RunFolder, before: Record, run: RunFolder, record: Record) -> list[str]:
    """What differs between two executions of a task, in words."""
    old, new = before["arguments"], record["arguments"]
    found = _settings(json.loads(old.get("settings", "{}")), json.loads(new.get("settings", "{}")))
    found += _code(before_run, run, record["task"], parse_key(before["key"]), parse_key(record["key"]))
    for name in sorted(new.keys() - {"settings", "key"}):
        if old.get(name) != new[name]:
            found.append(f"input {name} is new{_from(str(new[name]))}")
    return found


def _settings(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in _settings(old.get(key), new.get(key), f"{place}.{key}" if place else key)
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in _settings(a, b, f"{place}[{i}]")
        ]
    return [] if old == new else [f"setting {place} {old} -> {new}"]


def _code(
    before_run: RunFolder, run: RunFolder, task: str, old: Mapping[str, str], new: Mapping[str, str]
) -> list[str]:
    found = []
    then, now = before_run.about["tasks"].get(task, {}), run.about["tasks"][task]
    if then.get("image") != now.get("image"):
        found.append(f"image {then.get('image')} -> {now.get('image')}")
    if old.get("code") != new.get("code"):
        before, after = then.get("modules", {}), now["modules"]
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        found.append(f"code: {', '.join(names)} edited")
    if old.get("libraries") != new.get("libraries"):
        before, after = then.get("libraries", {}), now["libraries"]
        names = [
            f"{n} {before.get(n, 'absent')} -> {after.get(n, 'absent')}"
            for n in sorted(before.keys() | after.keys())
            if before.get(n) != after.get(n)
        ]
        found.append(f"libraries: {', '.join(names)}")
    if old.get("again") != new.get("again"):
        found.append("asked to run again" if new.get("again") else "without the rerun's request")
    return found


def _from(uri: str) -> str:
    parts = Path(uri).parts
    return (
        f" (from {parts[parts.index('runs') + 1]})" if "runs" in parts and parts.index("runs") + 1 < len(parts) else ""
    )
