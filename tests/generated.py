"""Writes what can be generated: the method table of README.md, and docs/ (command line, settings).

python tests/generated.py            write
python tests/generated.py --check    exit 1 and name the files that are stale
"""

import sys
from pathlib import Path

import click

from preflow.methods.catalogue import catalogue
from preflow.settings.runfile import RunFile
from preflow_pipelines.cli.init import section_model
from preflow_pipelines.cli.main import COMMANDS, cli
from preflow_pipelines.hardware import NodeRequirement, RoleHardware

ROOT = Path(__file__).parents[1]


def method_table() -> str:
    rows = [
        f"| `{m.name}` | [{m.title}]({m.url}) | {' or '.join(m.data)} | {m.reference} | {'yes' if m.on_policy else 'no'} "
        f"| {m.use_when} |"
        for m in catalogue().values()
    ]
    head = "| method | paper | data | reference | on-policy | use it when |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start, end = "<!-- generated: methods -->", "<!-- end -->"
    before, found_start, rest = text.partition(start)
    _, found_end, after = rest.partition(end)
    assert found_start and found_end, "README.md has lost the marks around its method table"
    return f"{before}{start}\n{method_table()}\n{end}{after}"


def command_line() -> str:
    parts = ["# Command line\n\nGenerated from the commands' own help by `make docs`.\n"]
    context = click.Context(cli, info_name="preflow")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        own = click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
        parts.append(f"## preflow {name}\n\n```text\n{command.get_help(own)}\n```\n")
    return "\n".join(parts)


def settings() -> str:
    parts = [
        "# Settings\n\nGenerated from the settings' own models by `make docs`. A method may bring its own default.\n"
    ]
    parts.append(_table("The run file", RunFile, {"method", "model", "seed", "dtype", "hardware"}))
    seen: set[str] = set()
    for method in catalogue().values():
        for section in ("text", *method.sections, "tracking"):
            model = section_model(section, method)
            title = f"{section}: {model.model_fields['name'].default}" if section == "loss" else section
            if title not in seen:
                seen.add(title)
                parts.append(_table(title, model, set(model.model_fields)))
    for title, model in (
        ("hardware profile: each of data, generate, train", RoleHardware),
        ("node_affinity", NodeRequirement),
    ):
        parts.append(_table(title, model, set(model.model_fields)))
    return "\n".join(parts)


def _table(title: str, model: type, names: set[str]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        if name in names:
            default = "required" if field.is_required() else f"`{field.default}`"
            source = (field.json_schema_extra or {}).get("source", "")
            rows.append(f"| `{name}` | {default} | {_cell(field.description)} | {_cell(source)} |")
    return "\n".join(
        [f"## {title}\n", "| setting | default | meaning | source of the default |", "|---|---|---|---|", *rows, ""]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


TARGETS = {"README.md": readme, "docs/command_line.md": command_line, "docs/settings.md": settings}


def main() -> None:
    stale = []
    for name, make in TARGETS.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"stale: {', '.join(stale)}. Run: make docs")
    print("written: " + ", ".join(stale) if stale else "all generated files are fresh")


if __name__ == "__main__":
    main()
