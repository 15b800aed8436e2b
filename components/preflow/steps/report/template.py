"""The page as a Jinja template: no script, nothing loaded from elsewhere, light and dark."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>preflow: {{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --line: #d9dfe7; --accent: #2f6bd8; --paper: #fff; --panel: #f6f8fb;
  --warn: #8a5200; --glow: #eaf1fd }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --dim: #9aa6b5; --line: #333c49; --accent: #7aa2f7; --paper: #14181f;
  --panel: #1b2129; --warn: #e0a458; --glow: #1d2a42 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1060px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere } h2 { font-size: 1.05rem; margin: 2.2rem 0 .7rem } h3 { font-size: .95rem; margin: 1.2rem 0 .3rem }
.dim, figcaption, .tile i { color: var(--dim); font-style: normal; font-size: .85rem } p { margin: .3rem 0 }
.tiles, .curves { display: grid; gap: .9rem; margin-top: 1rem }
.tiles { grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)) } .curves { grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
.tile, figure { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: .7rem 1rem; margin: 0 }
.tile b { font-size: 1.6rem; font-weight: 600; font-variant-numeric: tabular-nums; margin-right: .5rem } .tile i, .tile span { display: block }
svg { display: block; width: 100%; height: auto } polyline { fill: none; stroke: var(--accent); stroke-width: 1.8; stroke-linejoin: round } circle { fill: var(--accent) }
.range { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums }
.duel { border-top: 1px solid var(--line); padding: .9rem 0 } .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; margin-top: .5rem }
.side { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: .6rem .9rem } .side.won { background: var(--glow); border-color: var(--accent) }
.text { white-space: pre-wrap; overflow-wrap: anywhere }
.warning { color: var(--warn); border-left: 3px solid var(--warn); padding-left: .7rem; margin: .6rem 0 }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums } td { padding: .15rem 1.2rem .15rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; vertical-align: top }
details { margin-top: 1rem } summary { cursor: pointer } @media (max-width: 640px) { .sides { grid-template-columns: 1fr } }
</style></head><body>
<h1>{{ title }}</h1>
<p class="dim">{{ subtitle }}</p>
{% for text in warnings %}
<p class="warning">{{ text }}</p>
{% endfor %}
<div class="tiles">
{% for tile in tiles %}
<div class="tile"><i>{{ tile.label }}</i><b>{{ tile.value }}</b><span class="dim">{{ tile.beside }}</span><i>{{ tile.meaning }}</i></div>
{% else %}
<p>Nothing was measured: no rows were held out.</p>
{% endfor %}
</div>
{% for text in notes %}
<p class="dim">{{ text }}</p>
{% endfor %}
{% if control %}
<h2>Against the control</h2>
<p>{{ control.verdict }}</p>
<table><tr><td></td><td>in stages</td><td>control: all data at once, beta / T</td></tr>
{% for name, staged, other in control.table %}
<tr><td>{{ name }}</td><td>{{ staged }}</td><td>{{ other }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% if curves %}
<h2>Training</h2>
<div class="curves">
{% for curve in curves %}
<figure><figcaption>{{ curve.label }}: last {{ curve.last }}</figcaption>
<svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="{{ curve.label }} over {{ curve.steps }} steps, from {{ curve.low }} to {{ curve.high }}">
<polyline points="{{ curve.points }}"/>{% if curve.end %}<circle cx="{{ curve.end[0] }}" cy="{{ curve.end[1] }}" r="3"/>{% endif %}
</svg>
<figcaption class="range"><span>{{ curve.low }} to {{ curve.high }}</span><span>{{ curve.steps }} steps</span></figcaption></figure>
{% endfor %}
</div>
{% endif %}
{% if duels %}
<h2>Samples, side by side</h2>
<p class="dim">{{ duels | length }} of {{ num_duels }}, in the order of their prompts' hashes: nothing was picked.</p>
{% for duel in duels %}
<div class="duel"><div class="text dim">{% for turn in duel.prompt %}{{ turn.role }}: {{ turn.content }}
{% endfor %}</div>
<div class="sides">
{% for side in duel.sides %}
<div class="side{{ ' won' if duel.winner == side.source }}"><span class="dim">{{ side.source }}
{%- if side.score is not none %}, judge {{ "%.3f" | format(side.score) }}{{ ' (preferred)' if duel.winner == side.source }}{% endif %}
{%- if side.finish_reason == 'length' %}, cut at the limit{% endif %}</span>
<div class="text">{{ side.text }}</div></div>
{% endfor %}
</div></div>
{% endfor %}
{% endif %}
<h2>What was run</h2>
<details><summary>All numbers</summary><table>
{% for name, value in numbers %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table></details>
<details><summary>Settings</summary>
{% for step, lines in settings %}
<h3>{{ step }}</h3><table>
{% for name, value in lines %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
{% endfor %}
</details>
<details><summary>Lineage</summary>
{% for step, key, inputs in lineage %}
<h3>{{ step }}</h3><p class="dim">{{ key }}</p><table>
{% for name, kind, size, path in inputs %}
<tr><td>{{ name }}</td><td>{{ kind }}</td><td>{{ size }}</td><td>{{ path }}</td></tr>
{% endfor %}
</table>
{% endfor %}
</details>
</body></html>
"""
