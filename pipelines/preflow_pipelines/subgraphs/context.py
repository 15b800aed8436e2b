"""What a graph function works with: the pipeline's parameters by name, the imported inputs, and what the loss needs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfp import dsl

from preflow.settings.plan import Plan
from preflow.steps.fetch_input.component import fetch_input

KINDS: dict[str, type[dsl.Artifact]] = {"model": dsl.Model}
"""What is no plain artifact, by the input's kind."""


@dataclass(frozen=True)
class Context:
    """`parameters` are the pipeline's (sections as JSON, URIs); `inputs` the artifacts that enter from outside; `plan` is
    what the run file means: graphs depend on it, when the pipeline is compiled; `tasks` are those made already that others
    may want, by name."""

    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    plan: Plan
    tasks: dict[str, Any] = field(default_factory=dict)

    def section(self, name: str) -> Any:
        return self.parameters[name]

    def has(self, name: str) -> bool:
        """Whether the run file brings this input or section."""
        return name in self.inputs or name in self.parameters

    def settings(self, name: str) -> Any:
        """A section of the run file as it is, for what a graph depends on."""
        return getattr(self.plan.run_file, name)

    def input(self, name: str) -> Any:
        return self.inputs[name]

    @property
    def loss(self) -> Any:
        """The loss section: it says which references, streams and samples it needs."""
        return self.plan.run_file.loss

    @property
    def rounds(self) -> range:
        rounds = self.plan.run_file.rounds
        return range(rounds.count if rounds else 1)


def import_inputs(plan: Plan, parameters: Mapping[str, Any], remote: Collection[str] = ()) -> Context:
    """One importer task per input. Inputs are addressed by content, so one that was imported is never imported again.

    Those in `remote` are fetched by a step; their parameter holds its settings.
    """
    inputs = {}
    for name, spec in plan.inputs.items():
        if name in remote:
            fetched = fetch_input(settings=parameters[f"{name}_uri"], key="")
            inputs[name] = fetched.set_display_name(f"input: {name.replace('_', ' ')}").outputs["fetched"]
            continue
        importer = dsl.importer(
            artifact_uri=parameters[f"{name}_uri"], artifact_class=KINDS.get(spec.kind, dsl.Artifact), reimport=False
        )
        importer.set_display_name(f"input: {name.replace('_', ' ')}")
        inputs[name] = importer.output
    return Context(parameters, inputs, plan)
