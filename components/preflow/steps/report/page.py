"""What the run's page shows: headline numbers, training curves, samples side by side, settings and lineage."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from preflow.steps.report.control import table, verdict
from preflow.steps.report.template import PAGE
from preflow.tracking.journal import Journal, latest, metric_names, series

WIDTH, HEIGHT, MARGIN, SAMPLES = 300, 120, 8, 12
CURVES = {
    "train/loss": "loss",
    "train/reward_accuracy": "reward accuracy of the batch",
    "train/reward_margin": "reward margin of the batch",
    "train/chosen_logps": "log-prob of chosen texts (nats)",
    "train/rejected_logps": "log-prob of rejected texts (nats)",
    "train/score": "score of the policy's own texts",
    "train/kl": "KL to the reference (nats per text)",
    "train/entropy": "entropy (nats per token)",
    "train/completion_tokens": "length of its texts (tokens)",
    "train/completion_log_ratio": "log-ratio of completions to the reference (nats)",
    "train/self_sample_log_ratio": "log-ratio of the policy's samples to the reference (nats)",
    "train/reference_point": "reference point (nats)",
    "train/grad_norm": "gradient norm",
}
TILES = {
    "eval/win_rate": ("win rate", "against the baseline, by the judge; a tie is half a win"),
    "eval/reward_model_accuracy": ("reward model's accuracy", "of held-out human pairs; a tie is half right"),
    "eval/reward_accuracy": ("reward accuracy", "of held-out pairs, by the policy's log-prob ratio to the reference"),
    "eval/reward_margin": ("reward margin", "of held-out pairs, beta times nats"),
    "eval/reward_concordance": (
        "reward concordance",
        "of held-out completions: how often the log-ratio ranks two of them as labels or scores do; a tie is half",
    ),
    "eval/explained_variance": ("explained variance", "of held-out scores, by value network and log-ratio together"),
    "eval/forget_quality": ("forget quality", "p-value that the model never saw the forget rows; above 0.05 is good"),
    "eval/model_utility": ("model utility", "what it still knows of everything else"),
    "eval/forget_probability": ("forget probability", "per token, of the answers that were to be forgotten"),
    "eval/forget_rouge": ("forget ROUGE-L", "share of those answers that it still writes"),
    "eval/forget_truth_ratio": ("forget truth ratio", "1: right and wrong answers are equally likely"),
    "eval/retain_probability": ("retain probability", "per token, of the answers that were to be kept"),
    "eval/retain_rouge": ("retain ROUGE-L", "share of those answers that it still writes"),
    "eval/retain_truth_ratio": ("retain truth ratio", "how much likelier right answers are than wrong ones"),
    "eval/kl_to_reference": ("KL to the reference", "nats per completion, at temperature 1"),
    "eval/length_ratio": ("length ratio", "tokens, policy over baseline"),
    "eval/distinct_2": ("distinct bigrams", "of the policy's samples; a fall means repetition"),
    "eval/finished_share": ("finished", "of the policy's samples; the others were cut at the limit"),
}
NO_WIN_RATE = "No judge was named (evaluate.judge), so there is no win rate."


def render_page(
    train: Journal,
    evaluate: Journal,
    numbers: Mapping[str, float],
    samples: Sequence[dict[str, Any]],
    control: Journal | None = None,
    unlearning: Journal | None = None,
    reward_model: Journal | None = None,
) -> str:
    """HTML; every text from data or models is escaped. The further journals are those of `report`'s optional inputs."""
    further = [each for each in (unlearning, reward_model) if each is not None]
    found = {name: value for each in further for name, value in latest(each).items() if name.startswith("eval/")}
    numbers, journals = {**numbers, **found}, [train, evaluate, *further]
    against = latest(control) if control else None
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    duels = _duels(samples)
    return template.render(
        title=_title(train),
        subtitle=_subtitle(train, numbers, evaluate["settings"].get("max_prompts") if samples else None),
        tiles=[_tile(name, numbers, evaluate["settings"]) for name in TILES if name in numbers],
        notes=[NO_WIN_RATE] if samples and "eval/win_rate" not in numbers else [],
        curves=[_curve(CURVES[name], series(train, name)) for name in CURVES if name in metric_names(train)],
        duels=duels[:SAMPLES],
        num_duels=len(duels),
        control=None if against is None else {"verdict": verdict(numbers, against), "table": table(numbers, against)},
        settings=[(_name(each), _flat(each["settings"])) for each in journals],
        numbers=[(name, _short(value)) for name, value in sorted(numbers.items())],
        lineage=[(_name(each), each["key"], list(_inputs(each["inputs"]))) for each in journals],
        warnings=[text for each in journals for text in each["warnings"]],
        width=WIDTH,
        height=HEIGHT,
    )


def _name(journal: Journal) -> str:
    return str(journal["step"]).replace("_", " ")


def _title(train: Journal) -> str:
    terms = train["settings"].get("objective", [])
    losses = [
        f"{term['loss'].rpartition(':')[2]}({', '.join(f'{k}={v}' for k, v in term['arguments'].items())})"
        for term in terms
    ]
    if "algorithm" in train["settings"]:
        losses.append(f"{train['settings']['algorithm']}(beta={train['settings']['beta']})")
    return " + ".join(losses) or "a run"


def _subtitle(train: Journal, numbers: Mapping[str, float], sampled: int | None) -> str:
    facts = train["facts"]
    trained = [f"{facts[name]:,} {name}" for name in ("examples", "steps") if name in facts]
    heldout = int(numbers.get("heldout_prompts", 0))
    measured = f"measured on {heldout:,} held-out prompts"
    if sampled is not None and sampled < heldout:
        measured += f", texts and KL on {sampled:,} of them"
    return "; ".join([f"trained on {' in '.join(trained)}", measured] if trained else [measured])


def _tile(name: str, numbers: Mapping[str, float], settings: Mapping[str, Any]) -> dict[str, str]:
    label, meaning = TILES[name]
    beside, baseline = "", name.replace("eval/", "eval/baseline_")
    if f"{name}_low" in numbers:
        level = f" ({settings['confidence']:.0%})" if "confidence" in settings else ""
        beside = f"{numbers[f'{name}_low']:.3f} to {numbers[f'{name}_high']:.3f}{level}"
    elif f"{name}_se" in numbers:
        beside = f"± {numbers[f'{name}_se']:.3f} (standard error)"
    elif baseline in numbers:
        beside = f"baseline {numbers[baseline]:.3f}"
    return {"label": label, "value": f"{numbers[name]:.3f}", "beside": beside, "meaning": meaning}


def _curve(label: str, points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """A line scaled to the box, with its range and its last value; values that are no number are left out."""
    shown = [(step, value) for step, value in points if math.isfinite(value)]
    low, high = (min(value for _, value in shown), max(value for _, value in shown)) if shown else (0.0, 0.0)
    first, span = points[0][0], max(1, points[-1][0] - points[0][0])
    places = [
        (
            MARGIN + (WIDTH - 2 * MARGIN) * (step - first) / span,
            HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * ((value - low) / (high - low) if high > low else 0.5),
        )
        for step, value in shown
    ]
    return {
        "label": label,
        "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        "end": [f"{each:.1f}" for each in places[-1]] if places else None,
        "low": _short(low),
        "high": _short(high),
        "last": _short(points[-1][1]),
        "steps": points[-1][0],
    }


def _duels(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Policy and baseline of the same prompt and sample index; one sample of each prompt before the second of any."""
    pairs: dict[tuple[int, str], dict[str, Any]] = {}
    for row in samples:
        pairs.setdefault((row["sample_index"], row["prompt_id"]), {})[row["source"]] = row
    found = []
    for _, pair in sorted(pairs.items()):
        if {"policy", "baseline"} <= set(pair):
            scores = [pair[side]["score"] for side in ("policy", "baseline")]
            judged = None not in scores
            winner = ("policy" if scores[0] > scores[1] else "baseline") if judged and scores[0] != scores[1] else None
            found.append(
                {
                    "prompt": pair["policy"]["prompt"] or [],
                    "winner": winner,
                    "sides": [pair["policy"], pair["baseline"]],
                }
            )
    return found


def _inputs(inputs: Mapping[str, Mapping[str, Any]]) -> Any:
    for name, about in inputs.items():
        rows = f"{about['rows']:,} rows" if "rows" in about else ""
        yield name, about.get("kind", "file"), rows or about.get("digest", ""), about["path"]


def _short(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _flat(settings: Any, place: str = "") -> list[tuple[str, Any]]:
    if isinstance(settings, dict):
        return [line for key, value in settings.items() for line in _flat(value, f"{place}.{key}" if place else key)]
    if isinstance(settings, list) and any(isinstance(each, dict) for each in settings):
        return [line for number, each in enumerate(settings) for line in _flat(each, f"{place}[{number}]")]
    return [(place, settings)]
