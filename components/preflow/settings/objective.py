"""What a loss section of the run file says beside its arguments: how it becomes the terms of an objective.

Steps never import this: they receive the terms, in which the loss is a dotted name.
"""

from typing import Any, ClassVar, Literal

from preflow.settings.section import Section
from preflow.settings.train import Reduction, Term

PAIR = {"chosen": "chosen", "rejected": "rejected"}
COMPLETION = {"completion": "completion"}
Reference = Literal["none", "stored", "online"]


class LossSection(Section):
    """A loss by name. Its settings are the keyword arguments of `function`, and those named in `extras`, which belong to
    further terms. The class says what the loss needs:

    `roles` (role in its signature -> role in the data), `reference` (log-probs from the artifact, or the model itself
    beside the policy), `coupled`, and whether it reads the policy's own samples, scores that are standardised, samples
    that the policy drew from its own law (temperature 1, all tokens), a value network's numbers, P(chosen beats rejected)
    or whole distributions. A `symmetric` one is the same with both sides exchanged.
    """

    function: ClassVar[str]
    roles: ClassVar[dict[str, str]] = PAIR
    reference: ClassVar[Reference] = "stored"
    reduction: ClassVar[Reduction] = "example_mean"
    coupled: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ()
    samples: ClassVar[bool] = False
    standardise_scores: ClassVar[bool] = False
    own_law: ClassVar[bool] = False
    values: ClassVar[bool] = False
    preferences: ClassVar[bool] = False
    distributions: ClassVar[bool] = False
    symmetric: ClassVar[bool] = False

    name: str

    def keyword_arguments(self) -> dict[str, Any]:
        """The keyword arguments that the loss function is called with."""
        return self.model_dump(mode="json", exclude={"name", *self.extras})

    def main_term(self, coefficient: float = 1.0) -> Term:
        return Term(
            roles=self.roles,
            loss=self.function,
            arguments=self.keyword_arguments(),
            reduction=self.reduction,
            coefficient=coefficient,
            coupled=self.coupled,
        )

    def terms(self) -> tuple[Term, ...]:
        """The objective. Losses with further terms (NLL, a retain stream) override this."""
        return (self.main_term(),)

    @property
    def needs_reference(self) -> bool:
        """Whether reference log-probs are computed before training."""
        return self.reference == "stored" or any("mismatched" in term.roles.values() for term in self.terms())

    @property
    def needs_companion(self) -> bool:
        return any(term.stream == "companion" for term in self.terms())

    @property
    def beta_equivalent(self) -> float | None:
        """The strength in units of DPO's beta: pi is proportional to reference * exp(reward / beta). None: it has none, or
        one per token, which no beta of sums is like."""
        beta = getattr(self, "beta", None)
        return None if beta is None else float(beta)

    def idle(self) -> dict[str, str]:
        """Settings that change nothing as the others stand, with the reason."""
        return {}

    def weaker(self, factor: float) -> "LossSection":
        """The same loss, its beta divided by `factor`."""
        assert self.beta_equivalent is not None
        return self.model_copy(update={"beta": self.beta_equivalent / factor})


def nll_term(coefficient: float, *, role: str, stream: Literal["data", "companion"] = "data", mean: Reduction) -> Term:
    """coefficient * negative log-likelihood of a role's completions."""
    return Term(
        stream=stream,
        roles={"target": role},
        loss="preflow.losses.likelihood:nll",
        reduction=mean,
        coefficient=coefficient,
    )
