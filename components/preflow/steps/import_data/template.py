"""The data report as a Jinja template: no script, nothing loaded from elsewhere, light and dark."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>preflow: data report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --line: #d9dfe7; --paper: #fff; --panel: #f6f8fb;
  --first: #2f6bd8; --second: #d9822b; --third: #2f9e62; --warn: #9a5b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --dim: #9aa6b5; --line: #333c49; --paper: #14181f;
  --panel: #1b2129; --first: #7aa2f7; --second: #e0a35c; --third: #6cc591; --warn: #e0b25c } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2.2rem 0 .7rem } p { margin: .4rem 0 }
.tiles, .charts { display: flex; flex-wrap: wrap; gap: .9rem; margin-top: 1rem } .charts { gap: 1.4rem }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: .6rem 1rem; min-width: 7rem }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums } .dim, .tile span { color: var(--dim) }
.tile span, .dim { font-size: .85rem } .warning { color: var(--warn); border-left: 3px solid var(--warn); padding-left: .7rem }
figure { margin: 0 } figcaption { color: var(--dim); font-size: .85rem; max-width: {{ width }}px }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin-top: .8rem }
td, th { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line) } th { font-weight: 600 }
td:first-child, th:first-child { text-align: left } svg { overflow: visible } svg text { fill: var(--dim); font-size: 11px }
.first { fill: var(--first) } .second { fill: none; stroke: var(--second); stroke-width: 1.5 }
.third { fill: none; stroke: var(--third); stroke-width: 1.5; stroke-dasharray: 2 2 } .axis { stroke: var(--line) }
.mark { stroke: var(--ink); stroke-dasharray: 3 3 } .key { display: inline-block; width: .7rem; height: .7rem }
</style></head><body>
<h1>Data report</h1>
<p class="dim">{{ subtitle }}</p>
{% for text in warnings %}
<p class="warning">{{ text }}</p>
{% endfor %}
<div class="tiles">
{% for name, value in tiles %}
<div class="tile"><b>{{ value }}</b><span>{{ name }}</span></div>
{% endfor %}
</div>
{% if charts %}
<h2>Lengths in tokens{{ ', and scores' if scored }}</h2>
<div class="charts">
{% for chart in charts %}
<figure><svg width="{{ width }}" height="{{ height + 20 }}" role="img" aria-label="{{ chart.label }}">
{% for series in chart.series %}
{% for bar in series.bars %}
<rect class="{{ series.style }}" x="{{ bar.x }}" y="{{ bar.y }}" width="{{ bar.w }}" height="{{ bar.h }}"><title>{{ bar.title }}</title></rect>
{% endfor %}
{% endfor %}
<line class="axis" x1="0" x2="{{ width }}" y1="{{ height }}" y2="{{ height }}"/>
{% if chart.mark is not none %}
<line class="mark" x1="{{ chart.mark }}" x2="{{ chart.mark }}" y1="0" y2="{{ height }}"/>
{% endif %}
<text x="0" y="{{ height + 15 }}">{{ chart.low }}</text>
<text x="{{ width }}" y="{{ height + 15 }}" text-anchor="end">{{ chart.high }}</text></svg>
<figcaption>{% for series in chart.series %}{% if series.name %}<span class="key" style="background: var(--{{ series.style }})"></span>
{{ series.name }} &nbsp; {% endif %}{% endfor %}{{ chart.caption }}</figcaption></figure>
{% endfor %}
</div>
<table><tr><th></th>{% for name in percentiles %}<th>{{ name }}</th>{% endfor %}</tr>
{% for name, row in tokens.items() %}
<tr><td>{{ name }}</td>{% for p in percentiles %}<td>{{ "{:,.0f}".format(row[p]) }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endif %}
{% for title, rows in tables %}
<h2>{{ title }}</h2>
<table>{% for name, count, share in rows %}
<tr><td>{{ name }}</td><td>{{ "{:,}".format(count) }}</td><td><svg width="160" height="10" role="img" aria-label="{{ name }}">
<rect class="first" width="{{ share }}" height="10"/></svg></td></tr>
{% endfor %}
</table>
{% endfor %}
</body></html>
"""
