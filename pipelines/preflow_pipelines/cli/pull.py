"""`preflow pull`: what a run on a cluster made, on this machine."""

from pathlib import Path
from typing import Any

import click

from preflow.errors import SettingsError
from preflow_pipelines.cli.options import home
from preflow_pipelines.cli.which import the_run

ALL = "all"


@click.command()
@click.argument("run")
@click.option("--output", "names", multiple=True, metavar="STEP.OUTPUT", help="E.g. train-preference.trained; or all.")
@click.option(
    "-o",
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Default: the run's folder under PREFLOW_HOME.",
)
def command(run: str, names: tuple[str, ...], into: Path | None) -> None:
    """Fetch outputs of RUN from its cluster's bucket: without --output its model. What is here already is not fetched again.

    After it `preflow export RUN` and the like find the model here. Of a run on this machine it prints where its outputs are.

    \b
    Examples:
      preflow pull latest
      preflow pull 1124-101500-ab12 --output import-data.data -o data/
      preflow pull latest --output all
    """
    from preflow.tracking.lineage import final_task

    folder = the_run(run)
    if not names:
        final = final_task(folder.read("pipeline.json") or {})
        if final is None:
            raise SettingsError(f"run {folder.id}: makes no model. Expected --output STEP.OUTPUT. See: preflow explain")
        names = (f"{final}.trained",)
    for task, output in _chosen(folder, names):
        click.echo(f"{task}.{output}  {_fetch(folder, task, output, into)}")


def _chosen(folder: Any, names: tuple[str, ...]) -> list[tuple[str, str]]:
    known = [(record["task"], output) for record in folder.records() for output in record["outputs"]]
    if names == (ALL,):
        return known
    found = []
    for name in names:
        task, _, output = name.partition(".")
        if (task, output) not in known:
            there = ", ".join(f"{task}.{output}" for task, output in known) or "none yet"
            raise SettingsError(f"run {folder.id}: has no output {name!r}. Its outputs: {there}.")
        found.append((task, output))
    return found


def _fetch(folder: Any, task: str, output: str, into: Path | None) -> str:
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.pulling import pull

    if not folder.cluster:
        return str(folder.record(task)["outputs"][output])
    return str(
        pull(folder, Connection.of_run(home(), folder), task, output, into, lambda text: click.echo(text, err=True))
    )
