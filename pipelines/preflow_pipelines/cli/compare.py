"""`preflow compare`: runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from preflow_pipelines.cli.options import home, json_option, print_json
from preflow_pipelines.cli.which import the_run

FINAL_CURVES = ("train/loss", "train/reward_accuracy", "train/reward_margin")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@json_option
def command(runs: tuple[str, ...], as_json: bool) -> None:
    """Compare runs: the settings that differ, the metrics, and the MLflow page with the curves of all of them.

    RUN is a run's id, the unique beginning or end of one, or `latest`.

    \b
    Examples:
      preflow compare 1124-101500-ab12 1124-103000-cd34
      preflow compare ab12 latest
      preflow compare ab12 cd34 ef56 --json
    """
    from preflow.errors import SettingsError
    from preflow.tracking.comparison import compare
    from preflow.tracking.recorder import sync
    from preflow.tracking.runs import read_run

    folders = list(dict.fromkeys(the_run(name).path for name in runs))
    views = [view for folder in folders if (view := read_run(folder))]
    if not views:
        raise SettingsError(
            f"{', '.join(runs)}: nothing written yet. Expected runs that have begun; try again in a moment."
        )
    originals = {home() / "runs" / task.origin for view in views for task in view.tasks if task.origin}
    for problem in sync(home(), lambda text: click.echo(text, err=True), {*folders, *originals}):
        click.echo(f"not in MLflow: {problem}", err=True)
    comparison, link = compare(views), mlflow_link(folders)
    if as_json:
        print_json({**comparison.as_dict(), "mlflow": link})
        return
    names = [run["name"] for run in comparison.runs]
    facts = {"run": [run["id"] for run in comparison.runs], "state": [run["state"].lower() for run in comparison.runs]}
    shown = {name: row for name, row in comparison.metrics.items() if name.startswith("eval/") or name in FINAL_CURVES}
    for title, table in (("", facts), ("settings that differ", comparison.settings), ("metrics", shown)):
        click.echo("\n".join(as_table(title, names, table)))
    serve = " ".join(["preflow ui", *(run["id"] for run in comparison.runs)])
    click.echo(f"\nMLflow: {link['url'] or serve}")


def mlflow_link(folders: Sequence[Path]) -> dict[str, Any]:
    """Where the runs are in MLflow; `url` is None while nobody serves the pages."""
    from preflow.tracking.recorder import recorded_at
    from preflow.tracking.server import running_server
    from preflow.tracking.store import local_uri
    from preflow.tracking.view import charts_url

    found = [where for folder in folders if (where := recorded_at(folder, home()))]
    if not found:
        return {"tracking_uri": None, "experiment": None, "run_ids": [], "url": None}
    where = found[-1]
    together = [each["run_id"] for each in found if each["experiment_id"] == where["experiment_id"]]
    uri = where["tracking_uri"]
    base = running_server(home()) if uri == local_uri(home()) else uri if uri.startswith("http") else None
    url = charts_url(base, where["experiment_id"], together) if base else None
    return {"tracking_uri": uri, "experiment": where["experiment"], "run_ids": together, "url": url}


def as_table(title: str, names: Sequence[str], table: Any) -> list[str]:
    """Aligned lines: a name per row, a run per column."""
    rows = [[title, *names] if not title else [title, *("" for _ in names)]]
    rows += [[f"  {name}" if title else name, *map(as_text, row)] for name, row in table.items()]
    if title and not table:
        rows.append(["  none", *("" for _ in names)])
    first = max(28, *(len(row[0]) for row in rows))
    widths = [
        max(12, *(len(str(row[column])) for row in rows), len(name)) for column, name in enumerate(names, start=1)
    ]
    cells = [
        [row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))] for row in rows
    ]
    return [*([""] if title else []), *("  ".join(row).rstrip() for row in cells)]


def as_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
