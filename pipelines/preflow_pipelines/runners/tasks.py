"""What a compiled spec says about its tasks: their step, their settings, what they need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
TRACK = "track"
"""The task that records a run on a cluster."""


@dataclass(frozen=True)
class Task:
    """A task of the workflow. `inputs` maps an artifact's name to (producer task, output) or ("input", name)."""

    name: str
    step: str
    section: str | None
    inputs: Mapping[str, tuple[str, str]]
    image: str = ""

    def settings(self, sections: Mapping[str, str]) -> str:
        return sections[self.section] if self.section else "{}"


def tasks_of(spec: Spec) -> list[Task]:
    """The steps' tasks in an order in which they can run; importers are inputs, and what records the run is no step of it."""
    root = spec["root"]["dag"]["tasks"]
    importers = {
        name: task["inputs"]["parameters"]["uri"]["componentInputParameter"].removesuffix("_uri")
        for name, task in root.items()
        if _is_importer(spec, task)
    }
    found = {
        name: _task(spec, name, task, importers)
        for name, task in root.items()
        if name not in importers and name != TRACK
    }
    ordered: list[Task] = []
    while found:
        ready = sorted(
            name for name, task in found.items() if not any(producer in found for producer, _ in task.inputs.values())
        )
        assert ready, "the workflow has a cycle"
        ordered += [found.pop(name) for name in ready[:1]]
    return ordered


def _executor(spec: Spec, task: Mapping[str, Any]) -> Mapping[str, Any]:
    label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    executor: Mapping[str, Any] = spec["deploymentSpec"]["executors"][label]
    return executor


def _is_importer(spec: Spec, task: Mapping[str, Any]) -> bool:
    return "importer" in _executor(spec, task)


def _task(spec: Spec, name: str, task: Mapping[str, Any], importers: Mapping[str, str]) -> Task:
    container = _executor(spec, task)["container"]
    arguments = container["args"]
    step = arguments[arguments.index("--function_to_execute") + 1]
    settings = task["inputs"]["parameters"]["settings"]
    inputs = {}
    for artifact, source in task["inputs"].get("artifacts", {}).items():
        producer = source["taskOutputArtifact"]["producerTask"]
        output = source["taskOutputArtifact"]["outputArtifactKey"]
        inputs[artifact] = ("input", importers[producer]) if producer in importers else (producer, output)
    return Task(name, step, settings.get("componentInputParameter"), inputs, container["image"])
