"""`preflow cancel`: stop a run."""

import time
from typing import Any

import click

from preflow.errors import SettingsError
from preflow_pipelines.cli.options import home
from preflow_pipelines.cli.which import the_run

LOCAL_SECONDS = 60.0


@click.command()
@click.argument("run")
def command(run: str) -> None:
    """Stop RUN. `preflow retry` goes on from the last checkpoint of a step that trains: here it saves one first, on a cluster
    it is as old as train.checkpoint_steps allows.

    \b
    Examples:
      preflow cancel latest
      preflow cancel 1124-101500-ab12
    """
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.syncing import say_cancelled

    folder = the_run(run)
    if folder.state != "RUNNING":
        raise SettingsError(f"run {folder.id}: {folder.state.lower()}. Expected a run that goes on. See: preflow runs")
    if where := folder.cluster:
        connection = Connection.of_run(home(), folder)
        connection.api.cancel(where["kfp_run"])
        say_cancelled(folder, connection.bucket)
        click.echo(f"run {folder.id}: told to stop")
        return
    _stop_here(folder)


def _stop_here(folder: Any) -> None:
    import os
    import signal

    holder = int(folder.about["pid"])
    os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + LOCAL_SECONDS
    while folder.state == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.2)
    click.echo(f"run {folder.id}: {folder.state.lower()}")
