"""`preflow ui`: MLflow's pages over the runs of this machine."""

import signal
from pathlib import Path
from typing import Any

import click

from preflow_pipelines.cli.options import home, json_option, print_json
from preflow_pipelines.cli.which import the_run


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1; a free one near 5050 if left out.")
@json_option
def command(runs: tuple[str, ...], port: int | None, as_json: bool) -> None:
    """Serve the MLflow pages of the runs on this machine, until Ctrl-C. With RUNs: print the page that compares them.

    Runs that are not in MLflow yet are recorded first. Only this machine can reach the pages; from another one:
    ssh -L 5050:127.0.0.1:5050 HOST.

    \b
    Examples:
      preflow ui
      preflow ui ab12 cd34
      preflow ui --port 8080
    """
    from preflow.tracking.recorder import sync
    from preflow.tracking.server import PORT, base_url, free_port, running_server, serving
    from preflow.tracking.store import configure, make_local_store

    folders = [the_run(name).path for name in runs]
    for problem in sync(home(), lambda text: click.echo(text, err=True)):
        click.echo(f"not in MLflow: {problem}", err=True)
    there = running_server(home())
    if there and (port is None or there == base_url(port)):
        tell(there, folders, as_json)
        click.echo("served by a `preflow ui` that is running already", err=True)
        return
    configure()
    make_local_store(home())
    chosen = free_port(port or PORT)
    if port and chosen != port:
        click.echo(f"port {port} is taken; using {chosen}", err=True)
    click.echo("starting MLflow ...", err=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server ends with this command, however it ends
    with serving(home(), chosen) as process:
        tell(base_url(chosen), folders, as_json)
        if not as_json:
            click.echo("Ctrl-C ends it")
        try:
            process.wait()
        except KeyboardInterrupt:
            click.echo("")


def tell(base: str, folders: list[Path], as_json: bool) -> None:
    """The addresses: of the chosen runs together, or of each experiment."""
    urls = addresses(base, folders)
    if as_json:
        print_json({"url": base, "pages": urls})
        return
    for name, url in urls.items():
        click.echo(f"{name}: {url}")


def addresses(base: str, folders: list[Path]) -> dict[str, Any]:
    """Page by name. Runs that are recorded on a server have their pages there."""
    from preflow.tracking.recorder import recorded_at
    from preflow.tracking.runs import run_folders
    from preflow.tracking.store import local_uri
    from preflow.tracking.view import charts_url, run_url

    experiments: dict[tuple[str, str, str], list[str]] = {}
    for folder in folders or run_folders(home()):
        where = recorded_at(folder, home())
        if where and where["run_id"]:
            site = base if where["tracking_uri"] == local_uri(home()) else where["tracking_uri"]
            experiments.setdefault((site, where["experiment_id"], where["experiment"]), []).append(where["run_id"])
    pages = {}
    for (site, experiment_id, name), run_ids in experiments.items():
        if not site.startswith("http"):
            continue
        if len(folders) == 1:
            pages["run"] = run_url(site, experiment_id, run_ids[0])
        else:
            pages[f"experiment {name}"] = charts_url(site, experiment_id, run_ids if folders else ())
    return pages or {"MLflow": base}
