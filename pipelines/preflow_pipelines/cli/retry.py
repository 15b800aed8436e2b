"""`preflow retry`: a failed run continues."""

import click

from preflow.errors import SettingsError
from preflow_pipelines.cli.options import home, json_option, wait_option
from preflow_pipelines.cli.which import the_run


@click.command()
@click.argument("run")
@wait_option
@json_option
def command(run: str, wait: bool, as_json: bool) -> None:
    """Continue a failed, cancelled or killed RUN: finished steps are kept, training goes on from its checkpoint.

    On a cluster it is the same run that goes on, with the images, settings and files it had: after an edit, submit again. On
    this machine it is a new run with the code that is installed now.

    \b
    Examples:
      preflow retry latest
      preflow retry 1124-101500-ab12 --wait
    """
    from preflow_pipelines.cli.rerun import run_again
    from preflow_pipelines.cli.submit import follow
    from preflow_pipelines.runners.cluster.again import refuse_lost_inputs
    from preflow_pipelines.runners.cluster.api import refuse_unfinished
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.syncing import forget_end

    folder = the_run(run)
    if where := folder.cluster:
        connection = Connection.of_run(home(), folder)
        refuse_unfinished(connection.api.state(where["kfp_run"]), folder.id)
        refuse_lost_inputs(folder, connection.bucket)
        connection.api.retry(where["kfp_run"])
        forget_end(folder, connection.bucket)
        follow(folder, connection, wait, as_json)
        return
    if folder.state in ("SUCCEEDED", "RUNNING"):
        said = "is still going on" if folder.state == "RUNNING" else "succeeded"
        raise SettingsError(f"run {folder.id}: {said}. Expected a run that failed. To do a step again: preflow rerun")
    run_again(folder, dict(folder.about["nonces"]), "retry", as_json)
