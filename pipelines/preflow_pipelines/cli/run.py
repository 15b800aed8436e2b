"""`preflow run`: a workflow on this machine."""

from pathlib import Path
from typing import Any

import click

from preflow.tracking.lineage import final_task
from preflow_pipelines.cli.options import home, json_option, print_json, run_file_argument, set_option


@click.command()
@run_file_argument
@set_option
@json_option
def command(run_file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Run the workflow of RUNFILE on this machine, reusing every step whose inputs, settings and code are the same.

    Exit codes: 0 done, 1 a step failed, 2 the input is wrong. After `rerun`, a plain run returns to the first result.

    \b
    Examples:
      preflow run dpo.yaml
      preflow run dpo.yaml --set loss.beta=0.2 --set seed=1
      preflow run dpo.yaml --json
    """
    from preflow.settings.plan import make_plan
    from preflow.settings.runfile import load_run_file
    from preflow_pipelines.hardware import load_hardware

    parsed = load_run_file(run_file, overrides)
    load_hardware(parsed.hardware, run_file.parent)
    execute(make_plan(parsed, run_file.parent.resolve()), as_json)


def execute(plan: Any, as_json: bool, **again: Any) -> Any:
    """Run a plan under the live table, print where to look, and leave with the run's exit code if it failed."""
    from preflow_pipelines.runners.startup import skip_cluster_client

    skip_cluster_client()
    from preflow_pipelines.cli.display import RunDisplay
    from preflow_pipelines.runners.local import run_local

    with RunDisplay() as display:
        result = run_local(plan, home=home(), observer=display, **again)
    return conclude(result, as_json)


def conclude(result: Any, as_json: bool) -> Any:
    """Print what a run brought, and leave with its exit code if it failed."""
    if as_json:
        print_json(as_dict(result))
    else:
        summary(result)
    if not as_json or result.state != "SUCCEEDED":
        result.raise_if_users_mistake()
    if result.state != "SUCCEEDED":
        raise click.exceptions.Exit(1)
    return result


def as_dict(result: Any) -> dict[str, Any]:
    """A run as one JSON object."""
    from preflow.tracking.store import store_uri

    tracking = result.folder.about["tracking"]
    where = result.folder.read("synced.json") or result.folder.read("mlflow.json") or {}  # the recorder may still write
    return {
        "run": result.folder.id,
        "state": result.state,
        "steps": [vars(step) for step in result.steps],
        "metrics": result.metrics,
        "mlflow": {
            "tracking_uri": store_uri(home(), tracking),
            "experiment": tracking["experiment"],
            "run_id": where.get("run_id"),
        },
        "error": result.error,
    }


HEADLINES = (
    "eval/win_rate",
    "eval/reward_accuracy",
    "eval/reward_concordance",
    "eval/forget_quality",
    "eval/model_utility",
    "eval/forget_probability",
    "eval/forget_rouge",
    "eval/forget_truth_ratio",
    "eval/retain_probability",
    "eval/retain_rouge",
    "eval/retain_truth_ratio",
    "eval/kl_to_reference",
    "eval/length_ratio",
    "eval/distinct_2",
)


def summary(result: Any) -> None:
    """Where to look, after a run."""
    identity, outputs = result.folder.id, {step.name: step.outputs for step in result.steps}
    click.echo(f"\nrun {identity}: {result.state.lower()}")
    if result.state != "SUCCEEDED":
        if result.error and not result.error.get("user"):
            click.echo(f"  {result.error['message'].splitlines()[0]}", err=True)
            elsewhere = f"preflow logs {identity} {result.error.get('task', '')}".strip()
            here = elsewhere if result.folder.cluster else result.folder.path / "kfp.log"
            click.echo(f"  log      {result.error.get('log', here)}", err=True)
        return
    for name in HEADLINES:
        if name in result.metrics:
            click.echo(f"  {name:<24} {interval(result.metrics, name)}")
    for text in result.warnings:
        click.echo(f"  warning  {text}")
    final = final_task(result.folder.read("pipeline.json") or {})
    for label, task, output in [
        ("data", "import-data", "page"),
        ("report", "report", "page"),
        ("model", final or "train-preference", "trained"),
    ]:
        if path := outputs.get(task, {}).get(output):
            click.echo(f"  {label:<8} {path}")
    if url := (result.folder.cluster or {}).get("url"):
        click.echo(f"  pipeline {url}")
    click.echo(
        f"  explain  preflow explain {identity}\n  compare  preflow compare RUN {identity}\n  mlflow   preflow ui"
    )


def interval(metrics: dict[str, float], name: str) -> str:
    """A metric with its interval or standard error, where it has one."""
    text = f"{metrics[name]:.3f}"
    if f"{name}_low" in metrics:
        return f"{text}  [{metrics[f'{name}_low']:.3f}, {metrics[f'{name}_high']:.3f}]"
    if f"{name}_se" in metrics:
        return f"{text}  ± {metrics[f'{name}_se']:.3f}"
    return text
