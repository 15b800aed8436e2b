"""Losses of single completions: labelled, scored, unwanted, or sampled by the policy."""

from typing import ClassVar, Literal

from preflow.settings.objective import COMPLETION, LossSection, Reference, nll_term
from preflow.settings.section import setting
from preflow.settings.train import Term

FORGET = {"forget": "completion"}


class KTOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.kto:kto"
    roles: ClassVar[dict[str, str]] = {"completion": "completion", "mismatched": "mismatched"}
    coupled: ClassVar[bool] = True

    name: Literal["kto"] = setting(
        "kto", "sigmoid of the log-ratio against the batch's reference point", source="arXiv 2402.01306, equation 7"
    )
    beta: float = setting(0.1, "strength of the KL penalty", source="KTO version 1: close to best mostly", gt=0.0)
    desirable_weight: float = setting(1.0, "lambda_D", source="KTO, balanced data", gt=0.0)
    undesirable_weight: float = setting(1.0, "lambda_U", source="KTO, balanced data", gt=0.0)


class DROLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.dro:dro"
    roles: ClassVar[dict[str, str]] = COMPLETION
    standardise_scores: ClassVar[bool] = True
    values: ClassVar[bool] = True

    name: Literal["dro"] = setting(
        "dro", "(score - value - tau * log-ratio)^2 / 2", source="arXiv 2405.19107, equation 4"
    )
    tau: float = setting(
        1.0, "strength of the KL penalty, in deviations of the score per nat", source="DRO section 4", gt=0.0
    )
    rescale: bool = setting(True, "divide the policy's gradient by tau", source="DRO section 3.3")

    @property
    def beta_equivalent(self) -> float:
        return self.tau


class D2OLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.d2o:d2o"
    roles: ClassVar[dict[str, str]] = {"self_sample": "self_sample", "rejected": "completion"}
    samples: ClassVar[bool] = True
    coupled: ClassVar[bool] = True  # by K log-probs per example: their rows can be cut, so memory does not grow with K

    name: Literal["d2o"] = setting(
        "d2o", "self-samples against the unwanted completion", source="arXiv 2403.03419, equation 3"
    )
    alpha: float = setting(0.1, "weight of the unwanted completion", source="D2O's experiments", gt=0.0)
    beta: float = setting(0.1, "weight of the self-samples", source="D2O's experiments", gt=0.0)


class _ForgetLoss(LossSection):
    """What unlearning losses have beside the forget term: a retain term on the companion stream."""

    roles: ClassVar[dict[str, str]] = FORGET
    extras: ClassVar[tuple[str, ...]] = ("forget_weight", "retain", "retain_weight", "retain_reduction")

    name: str = setting("", "of the subclass", source="of the subclass")
    forget_weight: float = setting(1.0, "of the forget term", source="NPO section 4", ge=0.0)
    retain: Literal["none", "nll", "kl"] = setting(
        "nll",
        "what holds the retain rows: likelihood, KL(reference || policy), or nothing",
        source="NPO: NPO+RT is best",
    )
    retain_weight: float = setting(1.0, "of the retain term", source="NPO section 4; 0 to 5 in appendix C", ge=0.0)
    retain_reduction: Literal["token_mean", "sequence_sum"] = setting(
        "token_mean", "per answer token, or summed over them as in the paper's text", source="official code"
    )

    def terms(self) -> tuple[Term, ...]:
        forget = self.main_term(self.forget_weight)
        if self.retain == "none":
            return (forget,)
        mean: Literal["token_mean", "example_mean"] = (
            "token_mean" if self.retain_reduction == "token_mean" else "example_mean"
        )
        nll = nll_term(self.retain_weight, role="completion", stream="companion", mean=mean)
        if self.retain == "nll":
            return forget, nll
        return forget, nll.model_copy(update={"loss": "preflow.losses.divergence:forward_kl"})

    def idle(self) -> dict[str, str]:
        unread = ("retain_weight", "retain_reduction") if self.retain == "none" else ()
        return dict.fromkeys(unread, "loss.retain is none")


class NPOLoss(_ForgetLoss):
    function: ClassVar[str] = "preflow.losses.npo:npo"

    name: Literal["npo"] = setting(
        "npo", "-(2 / beta) * log sigmoid(-beta * log-ratio)", source="arXiv 2404.05868, equation 3"
    )
    beta: float = setting(
        0.1, "how early forgetting ends; towards 0 it is gradient ascent", source="NPO section 4", gt=0.0
    )


class GradientAscentLoss(_ForgetLoss):
    function: ClassVar[str] = "preflow.losses.npo:gradient_ascent"
    reference: ClassVar[Reference] = "none"

    name: Literal["gradient_ascent"] = setting(
        "gradient_ascent", "log pi(forget), without a bound", source="arXiv 2404.05868, the baseline"
    )


class ReinforceLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.policy_gradient:reinforce"
    roles: ClassVar[dict[str, str]] = COMPLETION
    reference: ClassVar[Reference] = "none"
    own_law: ClassVar[bool] = True

    name: Literal["reinforce"] = setting(
        "reinforce", "-advantage * log pi, one step per sample", source="SPO (arXiv 2401.04056) with RLOO's advantage"
    )


class PPOSeqLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.policy_gradient:ppo_seq"
    roles: ClassVar[dict[str, str]] = COMPLETION
    reference: ClassVar[Reference] = "none"
    own_law: ClassVar[bool] = True

    name: Literal["ppo_seq"] = setting(
        "ppo_seq", "PPO's clipped ratio, one per sequence", source="RLOO, arXiv 2402.14740; TRL 1.16"
    )
    epsilon: float = setting(0.2, "the ratio is clipped to 1 +- epsilon", source="PPO; TRL 1.16", gt=0.0, lt=1.0)
