"""`preflow methods`: the catalogue."""

from typing import Any

import click

from preflow.methods.catalogue import catalogue, find_method
from preflow.methods.page import Method
from preflow_pipelines.cli.options import json_option, print_json


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the methods, or show the page of one.

    \b
    Examples:
      preflow methods
      preflow methods rso
      preflow methods --json
    """
    if as_json:
        chosen = [find_method(name)] if name else list(catalogue().values())
        print_json([describe(method) for method in chosen])
    elif name:
        click.echo(page(find_method(name)))
    else:
        width = max(len(method) for method in catalogue())
        for method in catalogue().values():
            click.echo(f"{method.name:<{width}}  {method.title}. {method.use_when}")
        click.echo("\nThe page of one: preflow methods NAME. A run file: preflow init NAME")


def describe(method: Method) -> dict[str, Any]:
    """A method as JSON."""
    return {
        "name": method.name,
        "title": method.title,
        "paper": method.paper,
        "url": method.url,
        "use_when": method.use_when,
        "workflow": method.workflow,
        "data": list(method.data),
        "sections": list(method.sections),
        "optional": list(method.optional),
        "losses": list(method.losses),
        "presets": list(method.presets),
    }


def page(method: Method) -> str:
    """A method's page as text."""
    defaults = [
        f"  {section}.{key} = {default.value}    {default.source}"
        for section, keys in method.defaults.items()
        for key, default in keys.items()
    ]
    facts = {
        "Use it when": method.use_when,
        "Starts from": " or ".join(method.data),
        "Workflow": method.workflow,
        "Sections": ", ".join(method.sections),
        "If named": ", ".join(method.optional),
        "Losses": ", ".join(method.losses),
        "Presets": ", ".join(method.presets),
    }
    lines = [f"{method.name}: {method.title}", method.url, "", method.idea, f"  {method.equation}", ""]
    lines += [f"{name + ':':<12} {value}" for name, value in facts.items() if value]
    lines += ["", "Its own defaults:", *defaults] if defaults else []
    preset = " (--preset NAME for one of the presets)" if method.presets else ""
    start = f"Start: preflow init {method.name} > {method.name}.yaml{preset}"
    lines += ["", f"{start}    (--full shows every setting with its source)"]
    return "\n".join(lines)
