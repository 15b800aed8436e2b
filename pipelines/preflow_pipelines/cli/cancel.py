"""`preflow cancel`: stop a run."""

import time
from typing import Any

import click

from preflow.errors import ClusterError, SettingsError
from preflow_pipelines.cli.options import home
from preflow_pipelines.cli.which import the_run

LOCAL_SECONDS = 60.0


@click.command()
@click.argument("run")
def command(run: str) -> None:
    """Stop RUN. A step that trains saves a checkpoint first, so that `preflow retry` goes on from there.

    \b
    Examples:
      preflow cancel latest
      preflow cancel 1124-101500-ab12
    """
    from preflow_pipelines.runners.cluster.connection import Connection

    folder = the_run(run)
    if where := folder.cluster:
        api = Connection.of_run(home(), folder).api
        if over := api.state(where["kfp_run"]).over:
            raise ClusterError(
                f"run {folder.id}: has {over.lower()} already. Expected a run that goes on. See: preflow runs"
            )
        api.cancel(where["kfp_run"])
        click.echo(f"run {folder.id}: told to stop; its pods have their grace period to save")
        return
    if folder.state != "RUNNING":
        raise SettingsError(f"run {folder.id}: {folder.state.lower()}. Expected a run that goes on. See: preflow runs")
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
