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
@click.option("--cluster", is_flag=True, help="Check the cluster in use instead, and prove it with one small run.")
@click.option("--context", "name", metavar="NAME", help="With --cluster: another one than the one in use.")
@json_option
def command(cluster: bool, name: str | None, as_json: bool) -> None:
    """Check this installation: Python, libraries, the folder for runs, disk and cores. Exit 1 if a check fails.

    With --cluster: the API and its credentials, namespace, secrets, bucket, MLflow and images; then a run of two small
    steps, deleted afterwards, that shows whether pods start and reach the bucket and MLflow.

    \b
    Examples:
      preflow doctor
      PREFLOW_HOME=/data/preflow preflow doctor --json
      preflow doctor --cluster --context lab
    """
    if name and not cluster:
        raise click.UsageError("--context is of use with --cluster only.")
    results = _cluster(name) if cluster else [(check, *ask()) for check, ask in _checks()]
    if as_json:
        print_json([{"check": check, "ok": ok, "found": found, "fix": fix} for check, ok, found, fix in results])
    else:
        for check, ok, found, fix in results:
            mark = {True: "ok  ", False: "FAIL", None: "?   "}[ok]
            click.echo(f"{mark}  {check:<16} {found}" + (f"\n      {fix}" if fix and not ok else ""))
    if any(ok is False for _, ok, _, _ in results):
        raise click.exceptions.Exit(1)


Result = tuple[bool | None, str, str]
"""Whether it is as it should be (None: not checked), what was found, and the fix."""


def _cluster(name: str | None) -> list[tuple[str, bool | None, str, str]]:
    """What is asked from here, and, if all of that is well, what a small run shows."""
    from preflow.errors import PreflowError
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.cluster.findings import not_checked, problem
    from preflow_pipelines.runners.cluster.preflight import Wanted, preflight
    from preflow_pipelines.runners.cluster.ready import read_images, remembered_images

    connection = Connection.of(home(), name)
    images, findings = {}, []
    try:
        images = read_images(connection, {"data", "generate", "train"})
    except PreflowError as error:
        findings.append(problem("images", str(error)))
    findings += preflight(connection.profile, Wanted(images), remembered_images(home()))
    if any(finding.state == "problem" for finding in findings):
        findings.append(not_checked("small run", "not tried: it would fail"))
    else:
        from preflow_pipelines.runners.cluster.proof import prove

        findings += prove(connection, images["data"], lambda text: click.echo(text, err=True))
    states = {"ok": True, "problem": False, "not checked": None}
    return [(each.name, states[each.state], each.found, each.fix) for each in findings]


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
