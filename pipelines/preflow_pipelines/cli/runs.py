"""`preflow runs`: the runs on this machine."""

import time
from typing import Any

import click

from preflow_pipelines.cli.options import home, json_option, print_json
from preflow_pipelines.cli.which import refresh


@click.command()
@json_option
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many, the latest.")
def command(as_json: bool, last: int) -> None:
    """List the runs under PREFLOW_HOME, here and on clusters, the latest last.

    \b
    Examples:
      preflow runs
      preflow runs --last 3 --json
    """
    from preflow_pipelines.runners.folder import all_runs

    shown = list(all_runs(home()))[-last:]
    refresh(shown)
    rows = [_row(run) for run in shown]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(f"no runs in {home()}. Start with: preflow demo, or preflow init dpo > dpo.yaml")
    else:
        for row in rows:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"]))
            steps = f"{row['executed']} executed, {row['cached']} cached"
            again = f"  {row['relation']} of {row['parent']}" if row["parent"] else ""
            place = f"  on {row['context']}" if row["context"] else ""
            click.echo(f"{row['run']}  {when}  {row['method']:<5} {row['state'].lower():<10} {steps}{place}{again}")


def _row(run: Any) -> dict[str, Any]:
    about, states = run.about, [record["state"] for record in run.records()]
    return {
        "run": run.id,
        "method": about["method"],
        "created": about["created"],
        "state": run.state,
        "executed": states.count("EXECUTED"),
        "cached": states.count("CACHED"),
        "parent": about["parent"],
        "relation": about["relation"],
        "context": (run.cluster or {}).get("context"),
    }
