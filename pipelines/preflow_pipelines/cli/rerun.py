"""`preflow rerun`: one step again, and what depends on it."""

import click

from preflow_pipelines.cli.options import home, json_option


@click.command()
@click.argument("run")
@click.option(
    "--step", "steps", multiple=True, required=True, help="The step to run again; may be given several times."
)
@json_option
def command(run: str, steps: tuple[str, ...], as_json: bool) -> None:
    """Run a step of RUN again, and what depends on it; the rest is reused. RUN is an id, its beginning or end, or latest.

    The new result belongs to the new run. A plain `preflow run` of the same file returns to the first one.

    \b
    Examples:
      preflow rerun latest --step evaluate
      preflow rerun 1124-101500-ab12 --step generate-candidates --json
    """
    from preflow_pipelines.runners.startup import skip_cluster_client

    skip_cluster_client()
    from preflow_pipelines.cli.run import execute
    from preflow_pipelines.runners.again import changed_code, kept_inputs, nonces_for, plan_of
    from preflow_pipelines.runners.folder import find_run

    folder = find_run(home(), run)
    nonces = nonces_for(folder, steps)
    for task, modules in changed_code(folder).items():
        click.echo(
            f"{task}: its code changed since ({', '.join(modules[:3])}{' ...' if len(modules) > 3 else ''})", err=True
        )
    execute(plan_of(folder), as_json, kept=kept_inputs(folder), nonces=nonces, parent=folder.id, relation="rerun")
