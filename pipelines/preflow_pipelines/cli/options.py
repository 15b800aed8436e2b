"""Options and small conventions that several commands share."""

import errno
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
HOME_REFUSES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT}
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")

context_option = click.option(
    "--context", metavar="NAME", help="The cluster; default: the one in use (preflow context)."
)
wait_option = click.option("--wait", is_flag=True, help="Look on until the run is over; Ctrl-C leaves it alone.")


def home() -> Path:
    """Where everything local lives: PREFLOW_HOME, or ./.preflow."""
    return Path(os.path.expanduser(os.environ.get("PREFLOW_HOME") or ".preflow")).resolve()


def refused_by_home(error: Exception) -> str | None:
    """What to say if an error means that nothing can be written where everything local lives."""
    name = getattr(error, "filename", None)
    if not isinstance(error, OSError) or not isinstance(name, str) or not Path(name).is_relative_to(home()):
        return None
    if error.errno not in HOME_REFUSES and home().is_dir():
        return None
    return f"{name}: cannot be written ({error.strerror}). Set PREFLOW_HOME to a folder that can be written."


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))
