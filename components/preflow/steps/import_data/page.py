"""The data report as one page: numbers and pictures."""

from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np

from preflow.steps.import_data.numbers import Numbers
from preflow.steps.import_data.problems import CODES
from preflow.steps.import_data.template import PAGE

WIDTH, HEIGHT, BINS = 440, 140, 40
TILES = {
    "rows": "rows",
    "train": "to train on",
    "heldout": "held out",
    "rows_dropped": "dropped",
    "duplicates": "duplicates",
    "opposite_pairs": "pairs in both directions",
    "contradictions": "contradictions",
    "desirable": "desirable",
    "undesirable": "undesirable",
    "score_ties": "ties in score",
    "equal_length_pairs": "pairs of equal length",
    "prompts_truncated": "prompts truncated",
    "completions_truncated": "completions truncated",
}


def render_page(report: dict[str, Any], numbers: Numbers, warnings: Sequence[str] = ()) -> str:
    """The page as HTML; every text from the data is escaped."""
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    split = f"{report['heldout'] / report['rows']:.1%} held out" if report["rows"] else "nothing in it"
    return template.render(
        subtitle=f"{report['rows']:,} rows of {report['rows_read']:,} that were read; {split}",
        warnings=warnings,
        tiles=[(label, f"{report[name]:,}") for name, label in TILES.items() if name in report],
        charts=list(_charts(report, numbers)),
        scored="scores" in report,
        tokens=report["tokens"],
        percentiles=list(next(iter(report["tokens"].values()), {})),
        tables=list(_tables(report)),
        width=WIDTH,
        height=HEIGHT,
    )


def _charts(report: dict[str, Any], numbers: Numbers) -> Any:
    lengths = {name: np.frombuffer(values, dtype=np.int32) for name, values in numbers.lengths.items()}
    completions = {name: values for name, values in lengths.items() if name != "prompt"}
    limits = report["limits"]
    for part, label, limit in (
        ({"prompt": lengths["prompt"]} if lengths else {}, "prompts", limits["prompt"]),
        (completions, "completions", limits["completion"]),
    ):
        if part:
            high = max(1, int(np.percentile(np.concatenate(list(part.values())), 99.5)))
            cut = f"{label}; what is longer than {high:,} stands at the end"
            mark = WIDTH * limit / high if limit < high else None
            caption = cut + (f"; the line is the limit of {limit:,}" if mark else "")
            yield _chart(part, 0, high, mark, f"histogram of the lengths of {label}", caption)
    if "chosen" in lengths:
        difference = lengths["chosen"] - lengths["rejected"]
        span = max(1, int(np.percentile(np.abs(difference), 99)))
        share = report["chosen_longer_share"]
        caption = (
            f"chosen minus rejected: the chosen text is the longer one in {share:.1%} of the pairs of different lengths"
        )
        yield _chart({"": difference}, -span, span, WIDTH / 2, "histogram of length differences", caption)
    if numbers.scores:
        yield _scores_chart(report["scores"], np.frombuffer(numbers.scores, dtype=np.float64))


def _scores_chart(about: dict[str, float], scores: Any) -> dict[str, Any]:
    low, high = float(scores.min()), float(scores.max())
    high = high if high > low else low + 1
    mark = WIDTH * (about["mean"] - low) / (high - low)
    caption = f"scores, {about['distinct']:,} different ones; the line is the mean of {about['mean']:.3g} (deviation {about['std']:.3g})"
    return _chart({"": scores}, low, high, mark, "histogram of scores", caption, "")


def _chart(
    values: dict[str, Any],
    low: float,
    high: float,
    mark: float | None,
    label: str,
    caption: str,
    unit: str = " tokens",
) -> dict[str, Any]:
    """Bars of one or more series over the same axis; what lies outside is counted at its ends."""
    bins = min(BINS, int(high - low) + 1) if unit else BINS
    counted = [np.histogram(np.clip(part, low, high), bins=bins, range=(low, high)) for part in values.values()]
    highest = max(1, *(int(counts.max()) for counts, _ in counted))
    step = WIDTH / bins
    series = [
        {"name": name if len(values) > 1 else "", "style": style, "bars": _bars(counts, edges, highest, step, unit)}
        for name, style, (counts, edges) in zip(values, ("first", "second", "third"), counted, strict=False)
    ]
    shown_mark = None if mark is None else round(mark, 1)
    ends = {"low": f"{low:,.6g}", "high": f"{high:,.6g}"}
    return {"series": series, "mark": shown_mark, "label": label, "caption": caption, **ends}


def _bars(counts: Any, edges: Any, highest: int, step: float, unit: str) -> list[dict[str, Any]]:
    return [
        {
            "x": round(index * step, 1),
            "w": round(max(1.0, step - 1), 1),
            "h": round(HEIGHT * count / highest, 1),
            "y": round(HEIGHT - HEIGHT * count / highest, 1),
            "title": f"{edges[index]:.4g} to {edges[index + 1]:.4g}{unit}: {count:,}",
        }
        for index, count in enumerate(counts.tolist())
        if count
    ]


def _tables(report: dict[str, Any]) -> Any:
    turns = {f"{turns} turn{'s' if turns != '1' else ''}": count for turns, count in report["prompt_turns"].items()}
    dropped = {f"{code}: {CODES[code]}": count for code, count in report["dropped"].items()}
    for title, counts in (("Dropped rows", dropped), ("Sources", report["sources"]), ("Turns of a prompt", turns)):
        if counts and not (title == "Turns of a prompt" and len(counts) == 1):
            most = max(counts.values())
            yield title, [(name, count, round(160 * count / most, 1)) for name, count in counts.items()]
