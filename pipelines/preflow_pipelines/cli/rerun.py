"""`preflow rerun`: one step again, and what depends on it."""

from typing import Any

import click

from preflow_pipelines.cli.options import home, json_option, wait_option
from preflow_pipelines.cli.which import the_run


@click.command()
@click.argument("run")
@click.option(
    "--step", "steps", multiple=True, required=True, help="The step to run again; may be given several times."
)
@wait_option
@json_option
def command(run: str, steps: tuple[str, ...], wait: bool, as_json: bool) -> None:
    """Run a step of RUN again, and what depends on it; the rest is reused. RUN is an id, its beginning or end, or latest.

    The new result belongs to the new run. A plain `preflow run` or `submit` of the same file returns to the first one. A run on
    a cluster is submitted there again as it was, with the images that it had; --wait looks on.

    \b
    Examples:
      preflow rerun latest --step evaluate
      preflow rerun 1124-101500-ab12 --step generate-candidates --json
    """
    from preflow_pipelines.runners.again import nonces_for

    folder = the_run(run)
    nonces = nonces_for(folder, steps)
    if folder.cluster:
        _on_cluster(folder, nonces, wait, as_json)
    else:
        run_again(folder, nonces, "rerun", as_json)


def _on_cluster(folder: Any, nonces: dict[str, str], wait: bool, as_json: bool) -> None:
    from preflow_pipelines.cli.submit import follow
    from preflow_pipelines.runners.cluster.again import refuse_lost_inputs, submission_of
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.submit import start

    connection = Connection.of_run(home(), folder)
    refuse_lost_inputs(folder, connection.bucket)
    started = start(submission_of(folder, nonces), connection, home(), parent=folder.id, relation="rerun")
    follow(started, connection, wait, as_json)


def run_again(folder: Any, nonces: dict[str, str], relation: str, as_json: bool) -> None:
    """A stored run of this machine again, bound to the code that is installed now; says which steps have other code."""
    from preflow_pipelines.runners.startup import skip_cluster_client

    skip_cluster_client()
    from preflow_pipelines.cli.run import execute
    from preflow_pipelines.runners.again import changed_code, kept_inputs, plan_of

    for task, modules in changed_code(folder).items():
        click.echo(
            f"{task}: its code changed since ({', '.join(modules[:3])}{' ...' if len(modules) > 3 else ''})", err=True
        )
    execute(plan_of(folder), as_json, kept=kept_inputs(folder), nonces=nonces, parent=folder.id, relation=relation)
