"""How a run is called in MLflow, which of its settings and numbers it shows, and under which keys."""

import json
import re
from collections.abc import Mapping
from typing import Any

from preflow.tracking.journal import latest, metric_names
from preflow.tracking.runs import Point, RunView, TaskView

MAX_CURVES = 10
# Curves that the parent mirrors, the most telling first; others fill what is left of MAX_CURVES.
CURVES = tuple(
    f"train/{name}"
    for name in (
        "loss",
        "reward_accuracy",
        "reward_margin",
        "chosen_logps",
        "rejected_logps",
        "kl",
        "grad_norm",
        "learning_rate",
        "beta_equivalent",
    )
)
MAX_VALUE = 500  # characters of a parameter; MLflow cuts at 6000 without a word
NOT_SHOWN = ("tracking",)


def short_id(run_id: str) -> str:
    """The last part of a run's id."""
    return run_id.rpartition("-")[2]


def run_name(about: Mapping[str, Any]) -> str:
    """`<method>-b<beta>-<short id>`: a legend alone must tell runs apart."""
    beta = (about.get("run_file", {}).get("loss") or {}).get("beta")
    strength = f"-b{beta:g}" if isinstance(beta, int | float) else ""
    return f"{about['method']}{strength}-{short_id(str(about['id']))}"


def child_name(view: RunView, task: TaskView) -> str:
    """Says the step, the run and whether it was reused: the table of runs shows no tags."""
    return f"{task.task} · {run_name(view.about)}" + (" (cached)" if task.state == "CACHED" else "")


def model_name(name: str) -> str:
    """A name without the characters that MLflow forbids in names of models: / : . % " '."""
    return re.sub(r"[^\w-]", "_", name)


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as `section.key` -> text. None is left out; lists are one value."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
        return found
    if value is None or (isinstance(value, list | tuple) and not value):
        return {}
    return {parameter_key(prefix): _text(value)[:MAX_VALUE]}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def parameter_key(name: str) -> str:
    """MLflow takes letters, digits, `_ - . space : /` in keys."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def run_parameters(about: Mapping[str, Any]) -> dict[str, str]:
    """The resolved run file, as it would be written in `--set section.key=value`."""
    return flatten({key: value for key, value in about["run_file"].items() if key not in NOT_SHOWN})


def step_parameters(task: TaskView) -> dict[str, str]:
    """A step's section; prefixed, since KFP's own MLflow plugin logs the task's inputs without a prefix."""
    settings = task.journal["settings"] if task.journal else task.settings
    return flatten(settings, "cfg")


def curve_names(task: TaskView) -> list[str]:
    """The curves of the policy's training that its run mirrors."""
    present = list(dict.fromkeys(point["name"] for point in task.points if point["name"].startswith("train/")))
    known = [name for name in CURVES if name in present]
    return [*known, *(name for name in present if name not in known)][:MAX_CURVES]


def headline_points(view: RunView) -> list[Point]:
    """The final scores of the run: every metric of the finished evaluations once, at step 0."""
    return [point for task in view.measuring_tasks for point in _final_scores(task)]


def _final_scores(task: TaskView) -> list[Point]:
    if task.journal is None:
        return []
    values = latest(task.journal)
    times = {point["name"]: point["time"] for point in task.points}
    names = [name for name in metric_names(task.journal) if not name.startswith("train/")]
    return [{"name": name, "step": 0, "value": values[name], "time": times[name]} for name in names]


def headline(view: RunView) -> dict[str, float]:
    """The headline metrics by name."""
    return {point["name"]: point["value"] for point in headline_points(view)}


def fact_points(task: TaskView) -> list[Point]:
    """The numbers among the facts that a step found out, as `<step>/<fact>`."""
    if task.journal is None:
        return []
    facts = task.journal.get("facts", {})
    numbers = {
        name: value for name, value in facts.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    ended = task.journal["ended"]
    return [
        {"name": f"{task.step}/{name}", "step": 0, "value": float(value), "time": ended}
        for name, value in numbers.items()
    ]
