"""Journals: what a step writes about itself. A journal is an artifact, so a reused step has its numbers and its curve.

{"step", "task", "run", "started", "ended", "settings", "key", "inputs", "outputs", "metrics", "facts", "warnings"};
times are seconds since the epoch, `metrics` is a list of {"name", "step", "value", "time"}.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflow.errors import ArtifactError

Journal = Mapping[str, Any]


def read_journal(path: str | Path) -> Journal:
    """Raises ArtifactError for a file that is no journal."""
    try:
        journal = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a journal ({error}). Run the step again.") from None
    if not isinstance(journal, dict) or "step" not in journal:
        raise ArtifactError(f"{path}: not a journal. Run the step again.")
    return journal


def latest(journal: Journal) -> dict[str, float]:
    """The last value of every metric (the highest step, and of those the last written)."""
    best: dict[str, tuple[int, float]] = {}
    for point in journal["metrics"]:
        if point["name"] not in best or point["step"] >= best[point["name"]][0]:
            best[point["name"]] = (point["step"], point["value"])
    return {name: value for name, (_, value) in best.items()}


def series(journal: Journal, name: str) -> list[tuple[int, float]]:
    """(step, value) of one metric by step; a step that was repeated after a resume counts once, with its last value."""
    points = {point["step"]: point["value"] for point in journal["metrics"] if point["name"] == name}
    return sorted(points.items())


def metric_names(journal: Journal) -> list[str]:
    """Names in the order of their first appearance."""
    return list(dict.fromkeys(point["name"] for point in journal["metrics"]))
