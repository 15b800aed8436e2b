"""The plan of what `preflow init` writes, for each method."""

from pathlib import Path
from typing import Any

from preflow.methods.catalogue import catalogue
from preflow.settings.plan import Plan, make_plan
from preflow.settings.runfile import parse_run_file

FILES = (
    "pairs.jsonl",
    "prompts.jsonl",
    "teacher.jsonl",
    "labelled.jsonl",
    "scored.jsonl",
    "negatives.jsonl",
    "forget.jsonl",
    "retain.jsonl",
    "forget_questions.jsonl",
    "my_scorers.py",
)


def starter_plan(method: str, folder: Path, **changes: Any) -> Plan:
    """The plan of what `preflow init` writes."""
    for name in FILES:
        (folder / name).touch()
    (folder / "my-model").mkdir(exist_ok=True)
    content = {"method": method, "model": "./my-model", **catalogue()[method].starter}
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        if isinstance(value, dict):
            content[key] = {name: each for name, each in content[key].items() if each is not None}
    return make_plan(parse_run_file(content), folder)
