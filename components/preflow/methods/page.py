"""What a page of the catalogue holds. A method is named once, on its page; what it needs is data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from preflow.settings.section import Section
from preflow.settings.train import Term

ReferenceOutputs = Literal["none", "sums", "per_token", "distribution"]


@dataclass(frozen=True)
class Default:
    """A default that differs from the section's own, with its source."""

    value: Any
    source: str


@dataclass(frozen=True)
class Needs:
    """What a method needs of the engine and of the workflow, as a function of its settings."""

    streams: Mapping[str, tuple[str, ...]]
    reference_outputs: ReferenceOutputs = "sums"
    coupled: bool = False
    on_policy: bool = False
    rounds: int = 1


@dataclass(frozen=True)
class Method:
    """A page of the catalogue.

    `sections` are the run-file sections that the workflow uses, in the order of its steps; any other one is refused.
    `data` are the kinds of rows it starts from. `losses` are the losses that fit its data, the default first.
    `objective` turns the loss section into the terms that `train_preference` receives.
    """

    name: str
    title: str
    paper: str
    idea: str
    equation: str
    use_when: str
    workflow: str
    data: tuple[str, ...]
    sections: tuple[str, ...]
    losses: tuple[str, ...]
    objective: Callable[[Section], tuple[Term, ...]]
    needs: Callable[[Section], Needs]
    defaults: Mapping[str, Mapping[str, Default]] = field(default_factory=dict)
    starter: Mapping[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.paper}"
