"""`preflow doctor`: is this installation whole?"""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial

import click

from preflow_pipelines.cli.options import home, json_option, print_json

RUN_NEEDS = ("torch", "transformers", "accelerate", "peft", "safetensors", "datasets")
CORE_NEEDS = ("kfp", "kfp-kubernetes", "mlflow", "pyarrow", "tokenizers", "pydantic")
ROOM_GB = 5


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Check this installation: Python, libraries, the folder for runs, disk and cores. Exit 1 if a check fails.

    \b
    Examples:
      preflow doctor
      PREFLOW_HOME=/data/preflow preflow doctor --json
    """
    results = [(name, *check()) for name, check in _checks()]
    if as_json:
        print_json([{"check": name, "ok": ok, "found": found, "fix": fix} for name, ok, found, fix in results])
    else:
        for name, ok, found, fix in results:
            click.echo(f"{'ok  ' if ok else 'FAIL'}  {name:<16} {found}" + ("" if ok else f"\n      {fix}"))
    if not all(ok for _, ok, _, _ in results):
        raise click.exceptions.Exit(1)


Result = tuple[bool, str, str]


def _checks() -> Iterator[tuple[str, Callable[[], Result]]]:
    yield "python", _python
    for name in CORE_NEEDS:
        yield name, partial(_library, name, "pip install preflow")
    for name in RUN_NEEDS:
        yield name, partial(_library, name, "pip install 'preflow[train]' (compile and check work without)")
    yield "accelerator", _accelerator
    yield "cores", lambda: (True, f"{len(os.sched_getaffinity(0))}", "")
    yield "folder for runs", _home


def _python() -> Result:
    version = ".".join(map(str, sys.version_info[:3]))
    return sys.version_info >= (3, 11), version, "Python 3.11 or newer is needed"


def _library(name: str, fix: str) -> Result:
    try:
        return True, importlib.metadata.version(name), ""
    except importlib.metadata.PackageNotFoundError:
        return False, "not installed", fix


def _accelerator() -> Result:
    """An accelerator is welcome, not needed."""
    try:
        import torch
    except ImportError:
        return True, "unknown (torch is not installed)", ""
    if torch.cuda.is_available():
        return True, f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}", ""
    return True, "none; workflows run on the CPU", ""


def _home() -> Result:
    place = home()
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(nearest).free / 1e9
    found = f"{place} ({free:.0f} GB free)"
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return False, found, f"{nearest} cannot be written into; set PREFLOW_HOME to a folder that can"
    return free >= ROOM_GB, found, f"less than {ROOM_GB} GB free; set PREFLOW_HOME to a larger disk"
