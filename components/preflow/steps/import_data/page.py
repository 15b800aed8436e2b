"""The data report as one page: numbers and pictures, nothing loaded from elsewhere."""

from typing import Any

import jinja2

from preflow.steps.import_data.numbers import Numbers

WIDTH, HEIGHT = 420, 150

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --line: #d9dfe7; --bar: #3b6fd4; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --dim: #9aa6b5; --line: #333c49; --bar: #7aa2f7; --paper: #14181f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 980px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem } h2 { font-size: 1.05rem; margin: 2rem 0 .6rem }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1rem }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; min-width: 7rem }
.tile b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums } .tile span { color: var(--dim); font-size: .85rem }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0 } figcaption { color: var(--dim); font-size: .85rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left } svg text { fill: var(--dim); font: 11px system-ui, sans-serif } svg rect { fill: var(--bar) }
</style></head><body>
<h1>Data report</h1>
<div class="tiles">{% for name, value in tiles %}<div class="tile"><b>{{ value }}</b><span>{{ name }}</span></div>{% endfor %}</div>
<h2>Lengths in tokens</h2>
<div class="charts">{% for chart in charts %}<figure>
<svg width="{{ width }}" height="{{ height + 22 }}" role="img" aria-label="histogram of {{ chart.name }} lengths">
{% for bar in chart.bars %}<rect x="{{ bar.x }}" y="{{ bar.y }}" width="{{ bar.w }}" height="{{ bar.h }}"><title>{{ bar.title }}</title></rect>{% endfor %}
<text x="0" y="{{ height + 16 }}">0</text><text x="{{ width }}" y="{{ height + 16 }}" text-anchor="end">{{ chart.top }}</text></svg>
<figcaption>{{ chart.name }}</figcaption></figure>{% endfor %}</div>
<table><tr><th></th>{% for name in percentiles %}<th>{{ name }}</th>{% endfor %}</tr>
{% for name, row in tokens.items() %}<tr><td>{{ name }}</td>{% for p in percentiles %}<td>{{ "%.0f"|format(row[p]) }}</td>{% endfor %}</tr>{% endfor %}</table>
{% if bias is not none %}<h2>Length bias</h2>
<svg width="{{ width }}" height="40" role="img" aria-label="share of pairs whose chosen text is longer"><rect x="0" y="8" width="{{ width }}" height="18" style="opacity:.2"/>
<rect x="0" y="8" width="{{ width * bias }}" height="18"/><line x1="{{ width / 2 }}" x2="{{ width / 2 }}" y1="2" y2="32" stroke="currentColor"/></svg>
<p>The chosen text is the longer one in {{ "%.1f"|format(100 * bias) }} % of the pairs of different lengths (line: one half).</p>{% endif %}
{% if sources %}<h2>Sources</h2><table>{% for name, count in sources.items() %}<tr><td>{{ name }}</td><td>{{ "{:,}".format(count) }}</td></tr>{% endfor %}</table>{% endif %}
</body></html>
"""


def render_page(report: dict[str, Any], numbers: Numbers) -> str:
    """The page as HTML; every text from the data is escaped."""
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    return template.render(
        tiles=[(name, f"{value:,}") for name, value in _tiles(report)],
        charts=[_chart(name, numbers) for name in numbers.lengths],
        tokens=report["tokens"],
        percentiles=list(next(iter(report["tokens"].values()), {})),
        bias=report.get("chosen_longer_share"),
        sources=report["sources"],
        width=WIDTH,
        height=HEIGHT,
    )


def _tiles(report: dict[str, Any]) -> list[tuple[str, int]]:
    names = {
        "rows": "rows",
        "train": "to train on",
        "heldout": "held out",
        "rows_dropped": "dropped",
        "duplicates": "duplicates",
        "opposite_pairs": "pairs in both directions",
        "score_ties": "ties in score",
        "prompts_truncated": "prompts truncated",
        "completions_truncated": "completions truncated",
    }
    return [(label, report[name]) for name, label in names.items() if name in report]


def _chart(name: str, numbers: Numbers) -> dict[str, Any]:
    counts, edges = numbers.histogram(name)
    highest, step = max(counts) or 1, WIDTH / len(counts)
    bars = [
        {
            "x": round(index * step, 1),
            "w": round(step - 1, 1),
            "h": round(HEIGHT * count / highest, 1),
            "y": round(HEIGHT - HEIGHT * count / highest, 1),
            "title": f"{edges[index]:.0f} to {edges[index + 1]:.0f} tokens: {count:,}",
        }
        for index, count in enumerate(counts)
    ]
    return {"name": name, "bars": bars, "top": f"{edges[-1]:.0f}"}
