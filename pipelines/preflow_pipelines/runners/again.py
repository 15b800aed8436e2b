"""A stored run as a plan again, for `rerun`."""

import secrets

from preflow.artifacts.code import code_digest
from preflow.settings.plan import InputSpec, Plan
from preflow.settings.runfile import RunFile
from preflow.settings.text import TextSettings
from preflow_pipelines.runners.binding import SCORER_INPUTS, reached
from preflow_pipelines.runners.folder import RunFolder
from preflow_pipelines.runners.inputs import StagedInput
from preflow_pipelines.runners.tasks import tasks_of


def plan_of(run: RunFolder) -> Plan:
    """The plan of a run, with its own settings. Its inputs are still in the store: see `kept_inputs`."""
    about = run.about
    inputs = {name: _input(name, source, about) for name, source in about["sources"].items()}
    return Plan(about["method"], RunFile.model_validate(about["run_file"]), about["sections"], inputs)


def _input(name: str, source: object, about: dict[str, object]) -> InputSpec:
    kinds = {"model": "model", "tokenizer": "tokenizer"} | dict.fromkeys(SCORER_INPUTS, "scorer")
    if isinstance(source, dict) and "text" in source:
        source = {"model": source["model"], "text": TextSettings.model_validate(source["text"])}
    kind = "model" if name.endswith("_model") else kinds.get(name, "files")
    return InputSpec(name, kind, source)  # type: ignore[arg-type]


def kept_inputs(run: RunFolder) -> dict[str, StagedInput]:
    """What the run read, as the store has it: the user's files may have changed, or be gone."""
    return {name: StagedInput(**value) for name, value in run.about["inputs"].items()}


def nonces_for(run: RunFolder, steps: tuple[str, ...]) -> dict[str, str]:
    """The run's nonces with a new one for each of `steps`. Raises SettingsError for a step it does not have."""
    return {**run.about["nonces"], **{run.task_of(step): secrets.token_hex(3) for step in steps}}


def changed_code(run: RunFolder) -> dict[str, list[str]]:
    """Steps of a run whose code is another one now: task -> modules that changed."""
    about, spec, staged = run.about, run.read("pipeline.json") or {}, kept_inputs(run)
    found = {}
    for task in tasks_of(spec):
        now = code_digest(reached(task, about["sections"], staged)).modules
        then = about["tasks"][task.name]["modules"]
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        if changed:
            found[task.name] = changed
    return found
