"""`preflow submit`: a workflow on a cluster."""

from pathlib import Path
from typing import Any

import click

from preflow_pipelines.cli.options import (
    context_option,
    home,
    json_option,
    print_json,
    run_file_argument,
    set_option,
    wait_option,
)


@click.command()
@run_file_argument
@set_option
@context_option
@wait_option
@json_option
def command(run_file: Path, overrides: tuple[str, ...], context: str | None, wait: bool, as_json: bool) -> None:
    """Run the workflow of RUNFILE on the cluster of the context in use, reusing what any run there has done already.

    Everything is checked first: the run file and its data, the API, namespace, bucket, MLflow, images, nodes, secrets. Inputs
    of this machine are uploaded once, by content. Exit codes: 0 done, 1 a step failed, 2 the input or the cluster is wrong.

    \b
    Examples:
      preflow submit dpo.yaml
      preflow submit dpo.yaml --wait --set loss.beta=0.2
      preflow submit dpo.yaml --context lab --json
    """
    from preflow_pipelines.cli.check import report_problems
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.submit import prepare, start

    def say(text: str) -> None:
        click.echo(text, err=True)

    connection = Connection.of(home(), context)
    connection.lend_store()
    report_problems(run_file, overrides, as_json, connection.profile.secrets)
    submission = prepare(run_file, overrides, connection, home(), say)
    follow(start(submission, connection, home()), connection, wait, as_json)


def follow(folder: Any, connection: Any, wait: bool, as_json: bool) -> None:
    """Say where a run is that has just been started, or look on until it is over."""
    from preflow_pipelines.cli.display import RunDisplay
    from preflow_pipelines.cli.run import conclude
    from preflow_pipelines.runners.cluster.watching import Watch

    where = folder.cluster
    if wait:
        try:
            with RunDisplay() as display:
                display.message(f"run {folder.id}: {where['url']}")
                display.begin(folder.about["order"])
                result = Watch(folder, connection, display).until_over()
        except KeyboardInterrupt:
            click.echo(
                f"run {folder.id} goes on. Look on: preflow watch {folder.id}; stop it: preflow cancel {folder.id}",
                err=True,
            )
            raise
        conclude(result, as_json)
    elif as_json:
        print_json({"run": folder.id, "state": "RUNNING", **where})
    else:
        click.echo(f"run {folder.id}: submitted to {where['context']}\n  pipeline {where['url']}")
        if connection.mlflow:
            click.echo(f"  mlflow   {connection.mlflow}")
        click.echo(f"  look on  preflow watch {folder.id}")
