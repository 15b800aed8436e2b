"""The page as a Jinja template: no script, nothing loaded from elsewhere, light and dark."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>preflow: {{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --line: #d9dfe7; --accent: #2f6bd8; --paper: #fff; --panel: #f6f8fb; --warn: #9a5b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --dim: #9aa6b5; --line: #333c49; --accent: #7aa2f7; --paper: #14181f; --panel: #1b2129; --warn: #e0a458 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1060px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2.2rem 0 .7rem }
.tiles, .curves { display: flex; flex-wrap: wrap; gap: .9rem; margin-top: 1rem }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: .7rem 1rem; flex: 1 1 9rem; max-width: 15rem }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums } .tile i { font-style: normal; color: var(--dim); font-size: .85rem; display: block }
figure { margin: 0 } figcaption { font-size: .85rem; color: var(--dim) } polyline { fill: none; stroke: var(--accent); stroke-width: 1.8 }
svg { background: var(--panel); border: 1px solid var(--line); border-radius: 8px }
.duel { border-top: 1px solid var(--line); padding: .9rem 0 } .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; margin-top: .4rem }
.sides div, .prompt { white-space: pre-wrap; overflow-wrap: anywhere } .sides small { color: var(--dim); display: block } .prompt { color: var(--dim) }
.warning { color: var(--warn); border-left: 3px solid var(--warn); padding-left: .7rem; margin: .6rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums } td { padding: .15rem 1.2rem .15rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; vertical-align: top }
details { margin-top: 1rem } summary { cursor: pointer } @media (max-width: 640px) { .sides { grid-template-columns: 1fr } }
</style></head><body>
<h1>{{ title }}</h1>
{% for text in warnings %}
<p class="warning">{{ text }}</p>
{% endfor %}
<div class="tiles">
{% for tile in tiles %}
<div class="tile" title="{{ tile.meaning }}"><i>{{ tile.label }}</i><b>{{ tile.value }}</b><i>{{ tile.spread }}</i><i>{{ tile.meaning }}</i></div>
{% else %}
<p>Nothing was measured: no rows were held out.</p>
{% endfor %}
</div>
<h2>Training</h2>
<div class="curves">
{% for curve in curves %}
<figure><svg width="{{ width }}" height="{{ height }}" role="img" aria-label="{{ curve.name }} over {{ curve.steps }} steps"><polyline points="{{ curve.points }}"/></svg>
<figcaption>{{ curve.name }}: {{ curve.low }} to {{ curve.high }}, last {{ curve.last }}; {{ curve.steps }} steps</figcaption></figure>
{% endfor %}
</div>
{% if duels %}
<h2>Samples, side by side ({{ duels | length }} of {{ num_duels }})</h2>
{% for duel in duels %}
<div class="duel"><div class="prompt">{% for turn in duel.prompt %}{{ turn.role }}: {{ turn.content }}
{% endfor %}</div>
<div class="sides"><div><small>policy{% if duel.policy.score is not none %}, judge {{ "%.3f" | format(duel.policy.score) }}{% endif %}</small>{{ duel.policy.text }}</div>
<div><small>baseline{% if duel.baseline.score is not none %}, judge {{ "%.3f" | format(duel.baseline.score) }}{% endif %}</small>{{ duel.baseline.text }}</div></div></div>
{% endfor %}
{% endif %}
<details><summary>All numbers</summary><table>{% for name, value in numbers %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}</table></details>
<details><summary>Settings of training and evaluation</summary><table>{% for name, value in settings %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}</table></details>
<details><summary>Lineage</summary>{% for step, key, inputs in lineage %}<p>{{ step }} ({{ key }})</p><table>{% for name, about in inputs.items() %}
<tr><td>{{ name }}</td><td>{{ about.kind }}</td><td>{{ about.rows if about.rows is defined else about.digest }}</td><td>{{ about.path }}</td></tr>{% endfor %}</table>{% endfor %}</details>
</body></html>
"""
