"""`preflow logs`: what a step printed."""

from typing import Any

import click

from preflow.errors import SettingsError
from preflow_pipelines.cli.options import home
from preflow_pipelines.cli.which import the_run


@click.command()
@click.argument("run")
@click.argument("step", required=False)
def command(run: str, step: str | None) -> None:
    """Print the log of a STEP of RUN; without STEP that of the one that failed, or else of the last that ran here.

    A reused step printed its log in the run that executed it: `preflow explain RUN` names it.

    \b
    Examples:
      preflow logs latest
      preflow logs 1124-101500-ab12 train-preference
    """
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.failures import task_log

    folder = the_run(run)
    connection = Connection.of_run(home(), folder) if folder.cluster else None
    task = _task(folder, step)
    if connection:
        text = task_log(folder, task, connection)
    else:
        log = folder.step_file(task, "log")
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else None
    if text is None:
        record = folder.record(task)
        if record and record["state"] == "CACHED":
            raise SettingsError(
                f"{task}: was reused from run {record['origin']}. Its log: preflow logs {record['origin']} {task}"
            )
        raise SettingsError(f"{task}: has no log (yet). Expected a step that ran. See: preflow explain {folder.id}")
    click.echo(text.rstrip("\n"))


def _task(folder: Any, step: str | None) -> str:
    """The task that is meant."""
    if step is not None:
        return str(folder.task_of(step))
    order = folder.about["order"]
    states = {task: (folder.record(task) or {}).get("state") for task in order}
    failed = [task for task, state in states.items() if state == "FAILED"]
    begun = [task for task in order if states[task] == "EXECUTED" or (folder.step_json(task) and not states[task])]
    if not failed and not begun:
        raise SettingsError(
            f"run {folder.id}: no step ran in it. Expected a step's name. Its steps: {', '.join(order)}."
        )
    return str((failed or begun[-1:])[0])
