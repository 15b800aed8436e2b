"""What a graph function works with: the pipeline's parameters by name, and the imported inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl

KINDS = {"model": dsl.Model}


@dataclass(frozen=True)
class Context:
    """`parameters` are the pipeline's (sections as JSON, URIs); `inputs` the artifacts that enter from outside."""

    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]

    def section(self, name: str) -> Any:
        return self.parameters[name]

    def has(self, name: str) -> bool:
        """Whether the run file brings this input; decided when the pipeline is compiled."""
        return name in self.inputs

    def input(self, name: str) -> Any:
        return self.inputs[name]


def import_inputs(names: list[str], parameters: Mapping[str, Any]) -> Context:
    """One importer task per input. Inputs are addressed by content, so one that was imported is never imported again."""
    inputs = {}
    for name in names:
        importer = dsl.importer(
            artifact_uri=parameters[f"{name}_uri"], artifact_class=KINDS.get(name, dsl.Artifact), reimport=False
        )
        importer.set_display_name(f"input: {name.replace('_', ' ')}")
        inputs[name] = importer.output
    return Context(parameters, inputs)
