"""`preflow gc`: free what no kept run needs."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click

from preflow.errors import BucketError, SettingsError
from preflow_pipelines.cli.options import context_option, home, json_option, print_json
from preflow_pipelines.cli.which import refresh

DAY_SECONDS = 86400.0
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Place:
    """A home or a bucket: what nobody needs there, and how some of it is freed."""

    name: str
    found: list[Any]
    free: Callable[[list[Any]], Iterator[tuple[Any, str]]]


@click.command()
@click.option("--yes", is_flag=True, help="Free it. Without this gc only says what it would free.")
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="Runs that began earlier are not kept. Default: every run is.",
)
@click.option("--keep", multiple=True, metavar="RUN", help="Keep this run, however old; may be given several times.")
@click.option("--local", "only_here", is_flag=True, help="Leave the cluster's bucket alone.")
@context_option
@json_option
def command(
    yes: bool, days: int | None, keep: tuple[str, ...], only_here: bool, context: str | None, as_json: bool
) -> None:
    """Free the caches, inputs and checkpoints that no kept run needs, on this machine and in the bucket of a cluster.

    Every run is kept, unless --older-than says how old is too old. Always kept are runs that go on, those named with --keep, and
    those whose outputs a kept run reused. A kept run keeps its inputs; until it has succeeded, its checkpoints too, for `preflow
    retry`. What was written within the last hour stays.

    On this machine an old run goes with its folder, its model included; what MLflow has of it stays. In the bucket, which others
    may use too, runs and their artifacts stay: Kubeflow Pipelines would go on reusing artifacts that are gone, and its steps would
    find empty inputs. An old run there loses its inputs and checkpoints: it can be pulled and compared, but not retried or rerun.

    Exit codes: 0 done, 1 something could not be freed (the rest was), 2 the input is wrong.

    \b
    Examples:
      preflow gc
      preflow gc --yes
      preflow gc --older-than 30 --keep 1124-101500-ab12 --local
    """
    from preflow_pipelines.runners.collecting import Keeping, spared

    if only_here and context:
        raise click.UsageError("--local and --context: expected one of them.")
    bucket = None if only_here else _bucket(context)
    keeping = Keeping(
        time.time() - days * DAY_SECONDS if days else 0.0, frozenset(_run_id(run, bucket) for run in keep)
    )
    places, problems = _look(keeping, bucket)
    going, waiting = spared(home(), keeping)
    if waiting:
        problem = f"{len(waiting)} older runs stay here while run {going[0]} goes on: it may reuse what they made"
        click.echo(problem, err=True)
    if not as_json:
        for place in places:
            click.echo("\n".join(_table(place)))
    freed = list(_free(places, problems)) if yes else []
    for problem in problems:
        click.echo(f"preflow: {problem}", err=True)
    things = freed if yes else [_thing(place, each) for place in places for each in place.found]
    size = sum(thing["bytes"] for thing in things)
    if as_json:
        print_json({"freed": yes, "bytes": size, "things": things, "problems": problems})
    elif yes:
        click.echo(f"freed {_as_size(size)}")
    elif things:
        click.echo(f"nothing is freed yet. To free {_as_size(size)}: the same command with --yes")
    if problems:
        click.get_current_context().exit(1)


def _bucket(context: str | None) -> Any:
    """The bucket of a context; of the one in use, if one is."""
    from preflow_pipelines.profile import contexts_folder

    if context is None and not (contexts_folder(home()) / "current").is_file():
        return None
    from preflow_pipelines.runners.cluster.connection import Connection
    from preflow_pipelines.runners.folder import all_runs

    bucket = Connection.of(home(), context).bucket
    refresh(list(all_runs(home())))  # those that are over since they were last looked at
    return bucket


def _run_id(name: str, bucket: Any) -> str:
    """Of a run that is known here, or whose whole id is given and that others submitted."""
    from preflow_pipelines.runners.folder import find_run

    try:
        return find_run(home(), name).id
    except SettingsError:
        if bucket and bucket.exists(f"runs/{name}/run.json"):
            return name
        raise


def _look(keeping: Any, bucket: Any) -> tuple[list[Place], list[str]]:
    """Where there may be something to free, and what could not be looked at."""
    from preflow_pipelines.runners.collecting import find, free

    places = [Place(str(home()), find(home(), keeping), lambda shown: free(home(), keeping, shown))]
    if bucket is None:
        return places, []
    from preflow_pipelines.runners.cluster.collecting import find_in_bucket, free_in_bucket

    try:
        found = find_in_bucket(bucket, keeping)
    except BucketError as error:
        return places, [str(error)]
    return [*places, Place(bucket.uri, found, lambda shown: free_in_bucket(bucket, keeping, shown))], []


def _free(places: list[Place], problems: list[str]) -> Iterator[dict[str, Any]]:
    """What was freed; why something was not goes to `problems`."""
    for place in places:
        try:
            for each, problem in place.free(place.found) if place.found else ():
                if problem:
                    problems.append(problem)
                else:
                    yield _thing(place, each)
        except BucketError as error:
            problems.append(str(error))


def _thing(place: Place, each: Any) -> dict[str, Any]:
    return {"where": place.name, **asdict(each)}


def _table(place: Place) -> list[str]:
    """A line for each kind and reason; runs by name, too."""
    if not place.found:
        return [f"{place.name}: nothing that nobody needs"]
    lines = [place.name]
    for kind, why in dict.fromkeys((each.kind, each.why) for each in place.found):
        group = [each for each in place.found if (each.kind, each.why) == (kind, why)]
        lines.append(f"  {len(group):>5} {kind:<16} {_as_size(sum(each.bytes for each in group)):>9}  {why}")
        if kind == "runs":
            lines += [f"        {each.name:<32} {_as_size(each.bytes):>9}" for each in group]
    return lines


def _as_size(size: int) -> str:
    return next((f"{size / unit:.1f} {name}" for unit, name in UNITS if size >= unit), f"{size} B")
