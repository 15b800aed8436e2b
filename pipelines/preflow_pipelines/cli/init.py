"""`preflow init`: a run file to start from."""

from dataclasses import replace
from typing import Any, get_args

import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from preflow.errors import SettingsError
from preflow.methods.catalogue import find_method
from preflow.methods.page import Method
from preflow.settings.effects import without_effect
from preflow.settings.loss import LOSSES
from preflow.settings.runfile import KINDS, RunFile, parse_run_file


@click.command()
@click.argument("method")
@click.option("--full", is_flag=True, help="Every setting, with its default, meaning and source.")
@click.option("--preset", metavar="NAME", help="One of the method's presets; `preflow methods METHOD` names them.")
def command(method: str, full: bool, preset: str | None) -> None:
    """Write a run file for METHOD to standard output.

    \b
    Examples:
      preflow init dpo > dpo.yaml
      preflow init rso --full
      preflow init rso --preset paper
    """
    page = with_preset(find_method(method), preset)
    click.echo(full_run_file(page) if full else starter_run_file(page), nl=False)


def with_preset(page: Method, name: str | None) -> Method:
    """The page with a preset as its starter. Raises SettingsError for a name that is none."""
    if name is None:
        return page
    if name not in page.presets:
        raise SettingsError(
            f"method {page.name} has no preset {name!r}. Its presets: {', '.join(page.presets) or 'none'}."
        )
    return replace(page, starter=page.presets[name])


def starter_run_file(method: Method) -> str:
    """The lines that matter."""
    lines = [
        f"# {method.title}: {method.url}",
        f"# every setting with its meaning: preflow init {method.name} --full",
        f"method: {method.name}",
        "model: ./my-model            # a folder with config.json, a hub id or an s3:// URI",
    ]
    lines += [f"{section}: {_flow(values)}" for section, values in method.starter.items()]
    return "\n".join(lines) + "\n"


def _flow(values: Any) -> str:
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=1000).strip()


def full_run_file(method: Method) -> str:
    """Every setting of the method's sections, the starter's values where it has some. What changes nothing as the others
    stand is a comment: to give it would be an error."""
    idle = {(section, name): reason for section, name, reason in without_effect(_parsed(method))}
    lines = [f"# {method.title}: {method.url}", f"# {method.idea}", f"method: {method.name}", "model: ./my-model"]
    for name in ("seed", "dtype", "hardware"):
        lines.append(_line(name, RunFile.model_fields[name], RunFile.model_fields[name].default, ""))
    for section in ("text", *_sections(method), "tracking"):
        lines += ["", f"{section}:"]
        model = section_model(section, method)
        for name, field in model.model_fields.items():
            if name in ("seed", "dtype"):  # the run file's own stand for all sections
                continue
            value, source = _value(method, section, name, field)
            if value is not _ABSENT:
                reason = idle.get((section, name))
                mark, end = ("  # ", f" (no effect: {reason})") if reason else ("  ", "")
                lines.append(mark + _line(name, field, value, source) + end)
    return "\n".join(lines) + "\n"


_ABSENT = object()


def _parsed(method: Method) -> RunFile:
    """What the method's starter means."""
    return parse_run_file({"method": method.name, "model": "./my-model", **method.starter})


def _sections(method: Method) -> list[str]:
    """The sections of the starter's workflow, in the run file's order."""
    kind = next((kind for kind in method.data if kind in method.starter.get("data", {})), None)
    always = {name for name in method.sections_for(kind) if name not in method.one_of}
    return [name for name in RunFile.model_fields if name in always | set(method.starter) - {"text", "tracking"}]


def section_model(section: str, method: Method) -> type[BaseModel]:
    """The settings model behind a section of the run file."""
    if section == "loss":
        return next(model for model in LOSSES if model.model_fields["name"].default == method.losses[0])
    annotation = RunFile.model_fields[section].annotation
    models = [
        kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)
    ]
    return models[0]


def _value(method: Method, section: str, name: str, field: FieldInfo) -> tuple[Any, str]:
    default, own = method.defaults.get(section, {}).get(name), method.starter.get(section, {})
    source = default.source if default else ""
    if name in own:
        return own[name], source
    if section == "data" and name in KINDS:
        return _ABSENT, ""
    return (default.value, source) if default else (field.default, "")


def _line(name: str, field: FieldInfo, value: Any, source: str) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    shown = yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return f"{name}: {shown}".ljust(34) + f"  # {field.description} [{source or extra.get('source', '')}]"
