"""The run that a command is about, as it is now."""

from typing import Any

import click

from preflow_pipelines.cli.options import home


def the_run(name: str) -> Any:
    """The folder of a run; of one on a cluster brought up to date first. What the cluster cannot say now is left as it was."""
    from preflow_pipelines.runners.folder import find_run

    folder = find_run(home(), name)
    refresh([folder])
    return folder


def refresh(folders: list[Any]) -> None:
    """Ask the clusters about runs that were not over when they were last asked."""
    going = [folder for folder in folders if folder.cluster and folder.read("end.json") is None]
    if not going:
        return
    from preflow.errors import PreflowError
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.syncing import sync_run

    silent: set[str] = set()
    connections: dict[str, Any] = {}
    for folder in going:
        context = folder.cluster["context"]
        if context in silent:
            continue
        try:
            connection = Connection.of_run(home(), folder)
            sync_run(folder, connections.setdefault(context, connection))
        except PreflowError as error:
            if context in connections:  # else it leads elsewhere for this run alone
                silent.add(context)
            click.echo(f"{folder.id}: as it was when it was last seen. {error}", err=True)
