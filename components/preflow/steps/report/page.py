"""What the run's page shows: headline numbers, training curves, samples side by side, settings and lineage."""

from collections.abc import Sequence
from typing import Any

import jinja2

from preflow.steps.report.template import PAGE
from preflow.tracking.journal import Journal, metric_names, series

WIDTH, HEIGHT, SAMPLES = 300, 110, 12
CURVES = (
    "train/loss",
    "train/reward_accuracy",
    "train/reward_margin",
    "train/chosen_logps",
    "train/rejected_logps",
    "train/grad_norm",
)
TILES = {
    "eval/win_rate": ("win rate", "against the baseline, by the judge; ties count half"),
    "eval/reward_accuracy": ("reward accuracy", "held-out pairs whose chosen side has the higher log-ratio"),
    "eval/kl_to_reference": ("KL to the reference", "nats per completion"),
    "eval/length_ratio": ("length ratio", "tokens, policy over baseline"),
    "eval/distinct_2": ("distinct bigrams", "of the policy's samples"),
    "eval/baseline_distinct_2": ("distinct bigrams", "of the baseline's samples"),
}


def render_page(train: Journal, evaluate: Journal, numbers: dict[str, float], samples: Sequence[dict[str, Any]]) -> str:
    """HTML; every text from data or models is escaped."""
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    return template.render(
        title=_title(train),
        tiles=[_tile(name, numbers) for name in TILES if name in numbers],
        curves=[_curve(name, series(train, name)) for name in CURVES if name in metric_names(train)],
        duels=_duels(samples)[:SAMPLES],
        num_duels=len(samples) // 2,
        settings=_flat(train["settings"]) + _flat(evaluate["settings"]),
        numbers=sorted(numbers.items()),
        lineage=[(each["step"], each["key"], each["inputs"]) for each in (train, evaluate)],
        warnings=[*train["warnings"], *evaluate["warnings"]],
        width=WIDTH,
        height=HEIGHT,
    )


def _title(train: Journal) -> str:
    terms = train["settings"].get("objective", [])
    losses = [
        f"{term['loss'].rpartition(':')[2]}({', '.join(f'{k}={v}' for k, v in term['arguments'].items())})"
        for term in terms
    ]
    return " + ".join(losses) or "a run"


def _tile(name: str, numbers: dict[str, float]) -> dict[str, str]:
    label, meaning = TILES[name]
    spread = ""
    if f"{name}_low" in numbers:
        spread = f"{numbers[f'{name}_low']:.3f} to {numbers[f'{name}_high']:.3f}"
    elif f"{name}_se" in numbers:
        spread = f"± {numbers[f'{name}_se']:.3f}"
    return {"label": label, "value": f"{numbers[name]:.3f}", "spread": spread, "meaning": meaning}


def _curve(name: str, points: list[tuple[int, float]]) -> dict[str, Any]:
    """A polyline scaled to the box; the first and last values stand beside it."""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    span, steps = (high - low) or 1.0, max(1, points[-1][0] - points[0][0])
    line = [
        f"{WIDTH * (step - points[0][0]) / steps:.1f},{HEIGHT - 6 - (HEIGHT - 12) * (value - low) / span:.1f}"
        for step, value in points
    ]
    return {
        "name": name,
        "points": " ".join(line),
        "low": f"{low:.4g}",
        "high": f"{high:.4g}",
        "last": f"{values[-1]:.4g}",
        "steps": points[-1][0],
    }


def _duels(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    pairs: dict[tuple[str, int], dict[str, Any]] = {}
    for row in samples:
        pairs.setdefault((row["prompt_id"], row["sample_index"]), {})[row["source"]] = row
    return [
        {"prompt": pair["policy"]["prompt"], **pair} for pair in pairs.values() if {"policy", "baseline"} <= set(pair)
    ]


def _flat(settings: Any, place: str = "") -> list[tuple[str, Any]]:
    if isinstance(settings, dict):
        return [line for key, value in settings.items() for line in _flat(value, f"{place}.{key}" if place else key)]
    if isinstance(settings, list) and any(isinstance(each, dict) for each in settings):
        return [line for number, each in enumerate(settings) for line in _flat(each, f"{place}[{number}]")]
    return [(place, settings)]
