"""`preflow explain`: why each step was executed or reused."""

import click

from preflow_pipelines.cli.options import home, json_option, print_json
from preflow_pipelines.cli.which import the_run


@click.command()
@click.argument("run", default="latest")
@json_option
def command(run: str, as_json: bool) -> None:
    """Say for each step of RUN why it was executed or reused: which setting, input or code differed.

    \b
    Examples:
      preflow explain
      preflow explain 1124-101500-ab12 --json
    """
    from preflow_pipelines.runners.explain import explain

    folder = the_run(run)
    lines = list(explain(folder, home()))
    if as_json:
        print_json({"run": folder.id, "steps": [{"name": n, "state": s, "reason": r} for n, s, r in lines]})
        return
    click.echo(f"run {folder.id} ({folder.state.lower()})")
    width = max(len(name) for name, _, _ in lines)
    for name, state, reason in lines:
        click.echo(f"  {name:<{width}}  {state.lower():<8}  {reason}")
