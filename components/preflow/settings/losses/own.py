"""A loss from a file of the user's own: `loss: {name: "my_losses.py:margin_loss", arguments: {...}}`.

The function follows the legend of `preflow.losses.logps`, as ours do: its positional parameters say by their names what it
takes, its keyword-only ones are its settings. The file is shipped as an input, by content.
"""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from preflow.artifacts.facets import COMPLETION_FACETS, PAIR_FACETS
from preflow.errors import SettingsError
from preflow.settings.objective import PAIR, LossSection
from preflow.settings.own_code import OwnFunction, read_function
from preflow.settings.section import Section, setting
from preflow.settings.train import LOSS_FILE, Reduction, Term

ROLES = re.compile(r"^(?:(?:policy|reference|sampler)_(?P<one>\w+)_logps|(?P<two>\w+)_(?:num_tokens|kls|values))$")
BATCHWISE = ("state", "draws")
READ = {"takes": "the file", "place": "the method's page"}
"""Fields that nobody sets, and where they are read from."""


class LossPlace(Section):
    """What the method's own loss finds, and so does the one in its place."""

    roles: dict[str, str] = setting(
        PAIR, "role in the loss's signature -> role in the data", source="the method's page"
    )
    samples: bool = setting(False, "whether the rows have the policy's own samples", source="the method's page")
    standardise_scores: bool = setting(False, "whether scores are standardised", source="the method's page")
    own_law: bool = setting(False, "whether samples must be of the policy's own law", source="the method's page")


class FileLoss(LossSection):
    """A loss by FILE.py:FUNCTION. `takes` and `place` are filled in by `complete`, when the run file is read."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_alias=True, validate_by_name=True)

    name: str = setting(..., "FILE.py:FUNCTION", source="yours")
    given: dict[str, Any] = setting(
        {}, "the function's keyword-only arguments", source="the function's own defaults", alias="arguments"
    )
    is_coupled: bool = setting(
        False,
        "whether the loss of an example depends on the others of its batch: the function returns a Coupled",
        source="most do not",
        alias="coupled",
    )
    mean: Reduction = setting(
        "example_mean", "over the whole optimizer batch", source="every pairwise paper", alias="reduction"
    )
    takes: tuple[str, ...] = Field(
        (), description="the function's parameters", json_schema_extra={"source": "the file"}
    )
    place: LossPlace = Field(
        LossPlace(), description="what it finds", json_schema_extra={"source": "the method's page"}
    )

    def keyword_arguments(self) -> dict[str, Any]:
        return dict(self.given)

    @property
    def function(self) -> str:  # type: ignore[override]
        """As the step finds it: by the input that the file is, whose name and place count for nothing."""
        return f"{LOSS_FILE}:{self.name.rpartition(':')[2]}"

    @property
    def roles(self) -> dict[str, str]:  # type: ignore[override]
        return self.place.roles

    @property
    def reference(self) -> Literal["none", "stored", "online"]:  # type: ignore[override]
        if any(name.startswith("reference_") for name in self.takes):
            return "stored"
        return "online" if any(name.endswith("_kls") for name in self.takes) else "none"

    @property
    def coupled(self) -> bool:  # type: ignore[override]
        return self.is_coupled

    @property
    def samples(self) -> bool:  # type: ignore[override]
        return self.place.samples

    @property
    def standardise_scores(self) -> bool:  # type: ignore[override]
        return self.place.standardise_scores

    @property
    def own_law(self) -> bool:  # type: ignore[override]
        return self.place.own_law

    @property
    def values(self) -> bool:  # type: ignore[override]
        return any(name.endswith("_values") for name in self.takes)

    def terms(self) -> tuple[Term, ...]:
        """One term, with the roles that the function asks for."""
        asked = set(map(_role, self.takes))
        own = {role: row for role, row in self.roles.items() if role in asked} or self.roles
        term = Term(roles=own, loss=self.function, arguments=self.given, reduction=self.mean, coupled=self.is_coupled)
        return (term,)

    @property
    def preferences(self) -> bool:  # type: ignore[override]
        return "preferences" in self.takes

    @property
    def distributions(self) -> bool:  # type: ignore[override]
        return any(name.endswith("_kls") for name in self.takes)

    @property
    def beta_equivalent(self) -> float | None:
        """Its argument `beta`, where it has one."""
        beta = self.given.get("beta")
        return float(beta) if isinstance(beta, int | float) and beta > 0 else None

    def weaker(self, factor: float) -> LossSection:
        if self.beta_equivalent is None:
            raise SettingsError(
                f"loss {self.name}: has no argument beta, expected one that a control divides. Add it, or set stages.control: false."
            )
        return self.model_copy(update={"given": {**self.given, "beta": self.beta_equivalent / factor}})


def complete(given: dict[str, Any], folder: Path, own: type[LossSection], where: str) -> dict[str, Any]:
    """The loss section of a run file in `folder`, with what is read from the loss's file, in place of the method's `own` loss.

    Raises SettingsError for a file, a function, its parameters or arguments that do not fit.
    """
    for name in sorted(set(READ) & set(given)):
        raise SettingsError(f"{where}: loss.{name} has no effect: it is read from {READ[name]}. Remove it.")
    found = read_function(given["name"], folder, "loss")
    arguments = given.get("arguments") or {}
    if isinstance(arguments, dict):
        _check_arguments(found, arguments, where)
        given = {**given, "arguments": {**found.defaults, **arguments}}
    place = {name: getattr(own, name) for name in LossPlace.model_fields}
    _check_parameters(found, place["roles"], given.get("coupled") is True, where)
    return {**given, "takes": found.takes, "place": place}


def _check_arguments(found: OwnFunction, arguments: dict[str, Any], where: str) -> None:
    takes = f"It takes {', '.join(found.keywords) or 'none'} (what stands behind the * of its parameters)."
    for name in arguments:
        if name not in found.keywords:
            raise SettingsError(f"{where}: loss.arguments.{name}: {found.reference} has no such argument. {takes}")
    for name in found.required:
        if name not in arguments:
            raise SettingsError(
                f"{where}: loss.arguments.{name}: missing, and {found.reference} has no default for it. Add it."
            )


def _check_parameters(found: OwnFunction, roles: dict[str, str], coupled: bool, where: str) -> None:
    facets = PAIR_FACETS if "chosen" in roles.values() else COMPLETION_FACETS
    for name in found.takes:
        if _role(name) and _role(name) not in roles:
            raise SettingsError(
                f"{where}: loss {found.reference} takes {name}, but the method's rows have the roles {', '.join(roles)}. "
                "Rename the parameter, or choose another method."
            )
        if name.endswith("_rewards"):
            raise SettingsError(
                f"{where}: loss {found.reference} takes {name}, but no reward model is trained here. Take scores."
            )
        if not _role(name) and name not in (*facets, *BATCHWISE):
            raise SettingsError(
                f"{where}: loss {found.reference} takes {name}, but the method's rows have {', '.join(facets)}. Rename the "
                "parameter; one that is a setting stands behind the *."
            )
        if name in BATCHWISE and not coupled:
            raise SettingsError(
                f"{where}: loss {found.reference} takes {name}, which a coupled loss has. Set loss.coupled: true and return "
                "a preflow.losses.coupled.Coupled, or take it out."
            )
    if not any(name.startswith("policy_") for name in found.takes):
        raise SettingsError(
            f"{where}: loss {found.reference} takes {', '.join(found.takes) or 'nothing'}, expected something of the policy, "
            "e.g. policy_chosen_logps. The legend is in preflow.losses.logps."
        )


def _role(name: str) -> str:
    """The role that a parameter speaks of; "" for a column of the example."""
    match = ROLES.match(name)
    return (match["one"] or match["two"]) if match else ""
