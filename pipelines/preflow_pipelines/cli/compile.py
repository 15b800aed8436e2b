"""`preflow compile`: a run file as a Kubeflow pipeline."""

from pathlib import Path

import click

from preflow.errors import SettingsError
from preflow_pipelines.cli.options import run_file_argument, set_option

FORMATS = (".yaml", ".yml", ".json")  # those that kfp writes


@click.command()
@run_file_argument
@set_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: RUNFILE with .pipeline.yaml."
)
def command(run_file: Path, overrides: tuple[str, ...], output: Path | None) -> None:
    """Compile RUNFILE to a Kubeflow pipeline, with its hardware profile. Needs no torch, and none of the inputs' bytes.

    \b
    Examples:
      preflow compile dpo.yaml
      preflow compile dpo.yaml --set hardware=gpu-a100.yaml -o dpo-a100.yaml
    """
    from preflow.settings.plan import make_plan
    from preflow.settings.runfile import load_run_file
    from preflow_pipelines.runners.startup import skip_cluster_client

    skip_cluster_client()
    from preflow_pipelines.compile import write_pipeline
    from preflow_pipelines.hardware import Hardware, load_hardware

    parsed = load_run_file(run_file, overrides)
    hardware = load_hardware(parsed.hardware, run_file.parent)
    plan = make_plan(parsed, run_file.parent.resolve())
    target = output or run_file.with_suffix(".pipeline.yaml")
    if target.suffix not in FORMATS:
        raise SettingsError(f"--output {target}: expected a name that ends in .yaml. Rename it.")
    if target.suffix == ".json" and hardware != Hardware():
        raise SettingsError(
            f"--output {target}: kfp writes what hardware asks of Kubernetes to YAML alone. Name it .yaml."
        )
    if target.exists() and target.samefile(run_file):
        raise SettingsError(
            f"--output {target}: is the run file, which would be lost. Expected another file. Rename it."
        )
    try:
        write_pipeline(plan, hardware, target, plan.sections)
    except OSError as error:
        raise SettingsError(f"{target}: cannot be written ({error.strerror}). Give another path with -o.") from None
    click.echo(f"{target}: {plan.method}, parameters {', '.join(plan.sections)} and the inputs' URIs")
