"""What a page of the catalogue holds. A method is named once, on its page; what it needs is data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Default:
    """A default that differs from the section's own, with its source."""

    value: Any
    source: str


@dataclass(frozen=True)
class Method:
    """A page of the catalogue.

    `sections` are the run-file sections that the workflow always has, in the order of its steps, `optional` those that it
    has when the run file names them, `with_data` those that go with one kind of rows only; any other one is refused. Of
    those in `one_of` it must name exactly one. `data` are the kinds of rows it starts from, its own first (others are
    converted), `losses` the losses that fit them, the default first. `reference` says in words what the policy is held
    against, `on_policy` whether the policy's own samples are trained on. `starter` is what `preflow init` writes, `presets`
    what it writes instead when one is named.
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
    reference: str = "the start model"
    on_policy: bool = False
    optional: tuple[str, ...] = ()
    with_data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    one_of: tuple[str, ...] = ()
    defaults: Mapping[str, Mapping[str, Default]] = field(default_factory=dict)
    starter: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def sections_for(self, kind: str | None) -> tuple[str, ...]:
        """The sections that the workflow always has when it starts from rows of `kind`."""
        return (*self.sections, *self.with_data.get(kind or "", ()))

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.paper}"
