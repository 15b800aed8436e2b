"""Losses of pairs without a reference, with the NLL term that some of them have beside it."""

from typing import ClassVar, Literal

from preflow.settings.objective import LossSection, Reference, nll_term
from preflow.settings.section import setting
from preflow.settings.train import Term

NLLReduction = Literal["token_mean", "seq_mean", "sum"]


def _chosen_nll(weight: float, reduction: NLLReduction) -> tuple[Term, ...]:
    """weight * NLL(chosen), per token of the batch, per token of each completion, or summed over them."""
    if weight == 0:
        return ()
    term = nll_term(weight, role="chosen", mean="token_mean" if reduction == "token_mean" else "example_mean")
    if reduction == "seq_mean":
        return (term.model_copy(update={"loss": "preflow.losses.likelihood:nll_per_token"}),)
    return (term,)


class HingeLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.rso:hinge"
    reference: ClassVar[Reference] = "none"

    name: Literal["hinge"] = setting(
        "hinge", "max(0, 1 - beta * (log pi(chosen) - log pi(rejected)))", source="arXiv 2309.06657, equation 9"
    )
    beta: float = setting(0.05, "the paper's gamma", source="RSO section 4: best of 0.005, 0.05, 0.5", gt=0.0)


class SLiCLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.slic:slic"
    reference: ClassVar[Reference] = "none"
    extras: ClassVar[tuple[str, ...]] = ("regularization", "target")

    name: Literal["slic"] = setting(
        "slic", "max(0, delta - (log pi(chosen) - log pi(rejected)))", source="arXiv 2305.10425, equation 4"
    )
    delta: float = setting(1.0, "nats that the chosen one must be ahead", source="SLiC-HF: ranking margin 1.0", ge=0.0)
    regularization: float = setting(
        0.0, "the paper's lambda: weight of the target's NLL (sum)", source="RSO table 5: 0 to 500 are alike", ge=0.0
    )
    target: Literal["chosen", "best", "targets"] = setting(
        "chosen",
        "whose NLL: the pair's chosen text, the best candidate of the pair's prompt, or rows of the section `targets`",
        source="SLiC-HF section 3: the best candidate or the SFT target, within 1.2 points",
    )

    def terms(self) -> tuple[Term, ...]:
        if self.regularization == 0:
            return (self.main_term(),)
        role = "completion" if self.target == "targets" else self.target
        stream: Literal["data", "companion"] = "companion" if self.target == "targets" else "data"
        return self.main_term(), nll_term(self.regularization, role=role, stream=stream, mean="example_mean")

    @property
    def beta_equivalent(self) -> float | None:
        return 1 / self.delta if self.delta else None

    def idle(self) -> dict[str, str]:
        return {} if self.regularization else {"target": "loss.regularization is 0"}


class CPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.cpo:cpo"
    reference: ClassVar[Reference] = "none"
    extras: ClassVar[tuple[str, ...]] = ("alpha", "nll_reduction")

    name: Literal["cpo"] = setting(
        "cpo", "-log sigmoid(beta * (log pi(chosen) - log pi(rejected))) + alpha * NLL", source="arXiv 2401.08417"
    )
    beta: float = setting(0.1, "strength", source="CPO section 4", gt=0.0)
    alpha: float = setting(1.0, "weight of the chosen one's NLL", source="CPO section 3", ge=0.0)
    nll_reduction: NLLReduction = setting(
        "token_mean", "over the batch's tokens, each completion's, or none", source="all code; the paper writes a sum"
    )

    def terms(self) -> tuple[Term, ...]:
        return self.main_term(), *_chosen_nll(self.alpha, self.nll_reduction)

    def idle(self) -> dict[str, str]:
        return {} if self.alpha else {"nll_reduction": "loss.alpha is 0"}


class SimPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.simpo:simpo"
    reference: ClassVar[Reference] = "none"
    extras: ClassVar[tuple[str, ...]] = ("alpha", "nll_reduction")

    name: Literal["simpo"] = setting(
        "simpo", "-log sigmoid(beta * difference of mean log-probs - gamma)", source="arXiv 2405.14734"
    )
    beta: float = setting(2.0, "strength per token", source="SimPO: 2 to 10", gt=0.0)
    gamma: float = setting(
        1.0, "margin; gamma itself, not gamma / beta", source="SimPO: gamma / beta starts at 0.5", ge=0.0
    )
    alpha: float = setting(0.0, "weight of the chosen one's NLL; CPO-SimPO: 0.05", source="SimPO has none", ge=0.0)
    nll_reduction: NLLReduction = setting(
        "token_mean", "over the batch's tokens, each completion's, or none", source="CPO-SimPO's code"
    )

    def terms(self) -> tuple[Term, ...]:
        return self.main_term(), *_chosen_nll(self.alpha, self.nll_reduction)

    def idle(self) -> dict[str, str]:
        return {} if self.alpha else {"nll_reduction": "loss.alpha is 0"}

    @property
    def beta_equivalent(self) -> None:
        """Its strength is per token."""
        return None


class ORPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.orpo:orpo"
    reference: ClassVar[Reference] = "none"
    extras: ClassVar[tuple[str, ...]] = ("nll_reduction",)

    name: Literal["orpo"] = setting(
        "orpo", "NLL(chosen) - lam * log sigmoid(log odds ratio)", source="arXiv 2403.07691"
    )
    lam: float = setting(0.1, "weight of the odds ratio (TRL's beta)", source="ORPO's experiments", ge=0.0)
    nll_reduction: NLLReduction = setting(
        "token_mean", "over the batch's tokens, each completion's, or none", source="official code"
    )

    def terms(self) -> tuple[Term, ...]:
        return *_chosen_nll(1.0, self.nll_reduction), self.main_term()
