"""`preflow demo`: a whole rso workflow on a small real model."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from preflow_pipelines.cli.options import home, set_option

SAMPLES_SHOWN = 3
ROWS = (
    ("judge's score", "eval/baseline_judge_score", "eval/judge_score"),
    ("length (tokens)", "eval/baseline_length", "eval/length"),
    ("distinct bigrams", "eval/baseline_distinct_2", "eval/distinct_2"),
)
AGAINST = (
    ("win rate against before", "0.500", "eval/win_rate"),
    ("KL to before (nats)", "0.000", "eval/kl_to_reference"),
)


@click.command()
@click.option("--seed", default=0, show_default=True, help="Of sampling, rejection, order and evaluation.")
@set_option
def command(seed: int, overrides: tuple[str, ...]) -> None:
    """Make SmolLM2-135M write friendlier reviews: sample, score, reject, pair, train, and judge on held-out openings.

    The reward is one sentiment scorer, the judge another. About ten minutes on two cores; again: seconds.

    \b
    Examples:
      preflow demo
      preflow demo --seed 1
      preflow demo --set loss.beta=0.2     only training and later run again
    """
    from preflow.settings.plan import make_plan
    from preflow.settings.runfile import load_run_file
    from preflow_pipelines import demo
    from preflow_pipelines.cli.run import execute
    from preflow_pipelines.demo.model import demo_model

    folder = Path(demo.__file__).parent
    model = demo_model(home(), lambda text: click.echo(text, err=True))
    parsed = load_run_file(folder / "rso.yaml", (f"model={model}", f"seed={seed}", *overrides))
    result = execute(make_plan(parsed, folder), as_json=False)
    before_and_after(result.metrics)
    outputs = {step.name: step.outputs for step in result.steps}
    side_by_side(outputs["evaluate"]["samples"])
    click.echo(f"\nThe run's page: {outputs['report']['page']}\nIn MLflow:      {own_command()} ui")


def before_and_after(metrics: dict[str, float]) -> None:
    """What training changed, on openings that nothing was trained on."""
    from rich.console import Console
    from rich.table import Table

    from preflow_pipelines.cli.run import interval

    table = Table(title="held-out openings", title_justify="left", show_edge=False)
    for name, justify in (("", "left"), ("before", "right"), ("after", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for label, before, after in ROWS:
        if before in metrics:  # an override can leave the judge out
            table.add_row(label, f"{metrics[before]:.3f}", f"{metrics[after]:.3f}")
    for label, before, name in AGAINST:
        if name in metrics:
            table.add_row(label, before, interval(metrics, name))
    console = Console()
    console.print()
    console.print(table)


def side_by_side(samples: str) -> None:
    """The first samples of three openings, before and after, one under the other."""
    from preflow.artifacts.io import read_rows
    from preflow.artifacts.kinds import COMPLETIONS

    found: dict[str, dict[str, Any]] = {}
    for row in read_rows(samples, COMPLETIONS, ("prompt_id", "prompt", "sample_index", "text", "source")):
        if row["sample_index"] == 0:
            found.setdefault(row["prompt_id"], {"prompt": row["prompt"][-1]["content"]})[row["source"]] = row["text"]
    for each in list(found.values())[:SAMPLES_SHOWN]:
        click.echo(f"\n{each['prompt']} ...")
        for label, side in (("before", "baseline"), ("after", "policy")):
            click.echo(f"  {label:<7} ... {' '.join(each[side].split())}")


def own_command() -> str:
    """How to call this program again from here: `make demo` runs it from a virtual environment that is not activated."""
    if shutil.which("preflow"):
        return "preflow"
    own = Path(sys.argv[0])
    return os.path.relpath(own) if own.name == "preflow" else f"{sys.executable} -m preflow_pipelines.cli.main"
