"""The `preflow` command: a group that imports a command only when it is called."""

import importlib
import sys

import click

from preflow import __version__

COMMANDS = {
    "methods": "List the methods, or show the page of one.",
    "init": "Write a run file to start from.",
    "check": "Check all that can fail, before you pay for a GPU.",
    "submit": "Run a workflow on a Kubernetes cluster.",
    "compile": "Compile a run file to a Kubeflow pipeline (YAML).",
    "run": "Run a workflow on this machine.",
    "runs": "List the runs.",
    "rerun": "Run one step of a run again, and what depends on it.",
    "retry": "Continue a failed run.",
    "watch": "Look on until a run on a cluster is over.",
    "cancel": "Stop a run.",
    "logs": "Print what a step printed.",
    "pull": "Fetch what a run on a cluster made.",
    "explain": "Say for each step of a run why it was executed or reused.",
    "compare": "Compare runs: settings that differ, and metrics.",
    "export": "Write a run's model to a folder for others, with a model card.",
    "gc": "Free what no kept run needs.",
    "ui": "Open the MLflow pages of the runs.",
    "context": "Name clusters, and choose one.",
    "doctor": "Check this installation, or a cluster.",
    "demo": "A whole rso workflow on a small real model, on the CPU.",
}


class LazyGroup(click.Group):
    """`preflow --help` must answer at once, so help lines stand in a table and modules are imported on demand."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"preflow_pipelines.cli.{name}").command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, arguments)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message} Commands: {', '.join(COMMANDS)}.", context) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="preflow")
def cli() -> None:
    """Preference optimization as declarative workflows: one run file, one pipeline, every step cached.

    \b
    Examples:
      preflow init dpo > dpo.yaml      a run file to start from
      preflow check dpo.yaml           what is wrong, before anything is paid for
      preflow run dpo.yaml             the workflow, on this machine
      preflow compare RUN RUN          what differs, and what it brought
    """


def main() -> None:
    """Exit codes: 0 done, 1 a step failed, 2 the user's input, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)  # a command that leaves early returns its exit code
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        from preflow.errors import PreflowError
        from preflow_pipelines.cli.options import refused_by_home

        said = str(error) if isinstance(error, PreflowError) else refused_by_home(error)
        if said is None:
            raise
        click.echo(f"preflow: {said}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
