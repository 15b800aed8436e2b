"""Options and small conventions that several commands share."""

import json
import os
from pathlib import Path
from typing import Any

import click

run_file_argument = click.argument("run_file", metavar="RUNFILE", type=click.Path(dir_okay=False, path_type=Path))
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override a setting; may be given several times.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")


def home() -> Path:
    """Where everything local lives: PREFLOW_HOME, or ./.preflow."""
    return Path(os.environ.get("PREFLOW_HOME") or ".preflow").expanduser().resolve()


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))
