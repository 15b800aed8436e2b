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
from preflow.settings.loss import LOSSES
from preflow.settings.runfile import KINDS, RunFile


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
    """Every setting of the method's sections; what has no default holds the starter's value."""
    lines = [f"# {method.title}: {method.url}", f"# {method.idea}", f"method: {method.name}", "model: ./my-model"]
    for name in ("seed", "dtype", "hardware"):
        lines.append(_line(name, RunFile.model_fields[name], RunFile.model_fields[name].default, ""))
    for section in ("text", *method.sections_for(_kind(method)), "tracking"):
        lines += ["", f"{section}:"]
        model = section_model(section, method)
        for name, field in model.model_fields.items():
            if name in ("seed", "dtype"):  # the run file's own stand for all sections
                continue
            value, source = _value(method, section, name, field)
            if value is not _ABSENT:
                lines.append("  " + _line(name, field, value, source))
    return "\n".join(lines) + "\n"


_ABSENT = object()


def _kind(method: Method) -> str | None:
    """The kind of rows that the method's starter begins with."""
    return next((kind for kind in method.data if kind in method.starter.get("data", {})), None)


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
    default = method.defaults.get(section, {}).get(name)
    if default is not None:
        return default.value, default.source
    if field.is_required() or (section == "data" and name in method.starter.get("data", {}).keys() & set(KINDS)):
        return method.starter[section][name], ""
    if section == "data" and name in KINDS:
        return _ABSENT, ""
    return field.default, ""


def _line(name: str, field: FieldInfo, value: Any, source: str) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    shown = yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return f"{name}: {shown}".ljust(34) + f"  # {field.description} [{source or extra.get('source', '')}]"
