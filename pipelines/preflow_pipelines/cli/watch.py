"""`preflow watch`: look on until a run on a cluster is over."""

import click

from preflow.errors import SettingsError
from preflow_pipelines.cli.options import home, json_option
from preflow_pipelines.cli.which import the_run


@click.command()
@click.argument("run", default="latest")
@json_option
def command(run: str, as_json: bool) -> None:
    """Look on until RUN, on a cluster, is over: the table that `submit --wait` shows, with why a pod waits. Ctrl-C leaves the
    run alone. Exit codes as of submit.

    \b
    Examples:
      preflow watch
      preflow watch 1124-101500-ab12 --json
    """
    from preflow_pipelines.cli.submit import follow
    from preflow_pipelines.runners.cluster.connection import Connection

    folder = the_run(run)
    if folder.cluster is None:
        raise SettingsError(f"run {folder.id}: is one of this machine. Expected one on a cluster. See: preflow runs")
    follow(folder, Connection.of_run(home(), folder), True, as_json)
