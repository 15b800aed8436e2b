"""`preflow export`: a run's model as a folder that needs nothing of ours."""

from pathlib import Path

import click

from preflow_pipelines.cli.options import json_option, print_json
from preflow_pipelines.cli.which import the_run


@click.command()
@click.argument("run")
@click.option(
    "-o", "--output", metavar="FOLDER", type=click.Path(path_type=Path), help="A new folder; METHOD-RUN if left out."
)
@json_option
def command(run: str, output: Path | None, as_json: bool) -> None:
    """Write the model that RUN trained to a folder for others: weights (an adapter is merged, and kept beside them),
    tokenizer, chat template, generation config, and a model card with method, settings, data digests, metrics and lineage.

    Before the folder appears, plain transformers loads it in a process of its own and must find the trained model's logits.
    RUN is a run's id, the unique beginning or end of one, or `latest`.

    \b
    Examples:
      preflow export latest
      preflow export 1124-101500-ab12 -o my-aligned-model
      preflow export ab12 -o my-aligned-model --json
    """
    from preflow_pipelines.runners.exporting import export_run

    folder = the_run(run)
    target = Path(f"{folder.about['method']}-{folder.id}") if output is None else output
    found = export_run(folder, target)
    if as_json:
        print_json(found.as_dict())
        return
    check, size = found.reproduction, sum(found.as_dict()["files"].values())
    beside = "" if check.adapter is None else f"; of the adapter on its base {check.adapter:.3g}"
    click.echo(f"run {folder.id}: the model of {found.model.training.task}")
    click.echo(f"  folder   {found.folder} ({size / 1e6:,.1f} MB)")
    if found.has_adapter:
        click.echo(f"  adapter  {found.folder / 'adapter'}")
    click.echo(f"  card     {found.folder / 'README.md'}")
    click.echo(
        f"  check    plain transformers loads it; {check.prompts} prompts, {check.tokens} tokens: largest difference of "
        f"logits {check.difference:.3g}{beside}"
    )
