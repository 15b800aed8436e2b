"""A finished run made by hand, around models that a training step really made: what `export` reads, and nothing else."""

import json
from pathlib import Path
from typing import Any

import tiny
from preflow.artifacts.files import write_json
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import PAIRS
from preflow.artifacts.manifest import read_manifest, write_manifest
from preflow.settings.plan import make_plan
from preflow.settings.runfile import parse_run_file
from preflow.settings.train import TrainSettings
from preflow.steps.kit import Step, describe
from preflow.steps.train_preference import step as train_step
from preflow_pipelines.compile import pipeline_spec
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.runners.folder import RunFolder
from preflow_pipelines.runners.tasks import tasks_of

SCORES = {"eval/win_rate": 0.75, "eval/win_rate_low": 0.625, "eval/win_rate_high": 0.875, "eval/length_ratio": 1.5}
REFERENCE_FREE = {"loss": "preflow.losses.simpo:simpo", "roles": {"chosen": "chosen", "rejected": "rejected"}}


def write_run(folder: Path, content: dict[str, Any], kept: dict[str, str] | None = None) -> RunFolder:
    """A run of the run file `content`, whose files lie in `folder`; every training made its model from the one before.

    `kept` says which of its two models a selection kept.
    """
    (folder / "pairs.jsonl").touch()
    staged = _stage(folder)
    plan = make_plan(parse_run_file(content), folder)
    spec, _ = pipeline_spec(plan, Hardware())
    run = RunFolder(folder / "home" / "runs" / "0101-000000-abcd")
    tasks = tasks_of(spec)
    write_json(run.path / "pipeline.json", spec)
    about = {
        "id": run.id,
        "method": plan.method,
        "created": 1.0,
        "run_file": plan.run_file.model_dump(mode="json"),
        "sections": dict(plan.sections),
        "inputs": staged,
        "sources": {"model": str(folder / "model")},
        "order": [task.name for task in tasks],
        "tasks": {task.name: {"step": task.step, "key": "code=0123", "libraries": {"torch": "2"}} for task in tasks},
        "version": "0.1.0",
    }
    write_json(run.path / "run.json", about)
    model = staged["model"]["uri"]
    for number, task in enumerate(tasks):
        settings = task.settings(plan.sections)
        if task.step == "train_preference":
            model = _train(run, task.name, model, staged["tokenizer"]["uri"], settings, float(number))
        else:
            facts = {"kept": kept[task.name]} if kept and task.name in kept else {}
            _record(run, task.name, task.step, settings, {}, facts, float(number))
    write_json(run.path / "end.json", {"state": "SUCCEEDED", "error": None, "ended": 99.0})
    return run


def _stage(folder: Path) -> dict[str, Any]:
    tiny.make_model(folder / "model")
    tiny.stage(folder / "model", folder / "home" / "inputs" / "tokenizer")
    tiny.make_model(folder / "home" / "inputs" / "model")
    digest = write_manifest(folder / "home" / "inputs" / "model").digest
    return {
        "model": {"uri": str(folder / "home/inputs/model"), "digest": digest, "files": {".": str(folder / "model")}},
        "tokenizer": {"uri": str(folder / "home/inputs/tokenizer"), "digest": "cd" * 32, "files": {}},
        "data_files": {"uri": "", "digest": "ef" * 32, "files": {"train/000.jsonl": str(folder / "pairs.jsonl")}},
    }


def _train(run: RunFolder, task: str, model: str, tokenizer: str, settings: str, started: float) -> str:
    """Two steps of a training that needs no reference; the folder of the trained model."""
    place = run.path / "outputs" / task
    write_rows(place / "data", PAIRS, tiny.pair_rows(8))
    lora = json.loads(settings)["lora"]
    options = TrainSettings(objective=(REFERENCE_FREE,), lora=lora, learning_rate=1e-2, batch_size=4)
    train_step.run(
        Step.detached(place, options.canonical(), "train_preference"),
        data=str(place / "data"),
        model=model,
        tokenizer=tokenizer,
        trained=str(place / "trained"),
    )
    inputs = {"data": describe(str(place / "data")), "model": describe(model)}
    _record(run, task, "train_preference", settings, inputs, {}, started, trained=str(place / "trained"))
    return str(place / "trained")


def _record(
    run: RunFolder,
    task: str,
    step: str,
    settings: str,
    inputs: dict[str, Any],
    facts: dict[str, Any],
    started: float,
    **outputs: str,
) -> None:
    journal = run.path / "outputs" / task / "journal"
    points = [{"name": name, "step": 0, "value": value, "time": 1.0} for name, value in SCORES.items()]
    about = {"step": step, "task": task, "settings": json.loads(settings), "inputs": inputs, "facts": facts}
    write_json(journal, about | {"metrics": points if step == "evaluate" else []})
    record = {
        "state": "EXECUTED",
        "started": started,
        "ended": started,
        "arguments": {"settings": settings},
        "key": "code=0123",
        "outputs": {**outputs, "journal": str(journal)},
        "origin": run.id,
    }
    write_json(run.path / "steps" / f"{task}.record.json", record)


def digest_of(run: RunFolder, task: str) -> str:
    """Of the model that a task made."""
    return read_manifest(run.path / "outputs" / task / "trained").digest
