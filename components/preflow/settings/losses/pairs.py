"""Losses of pairs with a reference: DPO and the methods that keep its data."""

from typing import ClassVar, Literal

from preflow.settings.objective import LossSection
from preflow.settings.section import setting
from preflow.settings.train import Reduction


class DPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.dpo:dpo"

    name: Literal["dpo"] = setting("dpo", "-log sigmoid(beta * h)", source="arXiv 2305.18290, equation 7")
    beta: float = setting(0.1, "strength of the KL penalty", source="DPO appendix B; 0.5 for TL;DR", gt=0.0)
    label_smoothing: float = setting(
        0.0,
        "probability that a label is flipped (conservative DPO)",
        source="Mitchell 2023, cDPO note, equation 3",
        ge=0.0,
        lt=0.5,
    )


class RobustDPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.dpo:robust_dpo"

    name: Literal["robust_dpo"] = setting(
        "robust_dpo", "DPO on the true labels, in expectation over flipped ones", source="arXiv 2403.00409"
    )
    beta: float = setting(0.1, "strength of the KL penalty", source="rDPO's experiments", gt=0.0)
    label_smoothing: float = setting(
        0.1, "probability that a label is flipped", source="rDPO's experiments", ge=0.0, lt=0.5
    )


class BetaDPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.beta_dpo:beta_dpo"
    reduction: ClassVar[Reduction] = "kept_mean"
    coupled: ClassVar[bool] = True

    name: Literal["beta_dpo"] = setting(
        "beta_dpo", "DPO with a beta per batch, over the pairs whose gap is no outlier", source="arXiv 2407.08639"
    )
    beta: float = setting(0.1, "the paper's beta_0", source="beta-DPO, experiments", gt=0.0)
    alpha: float = setting(
        0.6, "how strongly beta follows the batch's gap; 0 fixes it", source="official README", ge=0.0
    )
    keep_ratio: float = setting(
        0.8,
        "share of the pairs kept, drawn by how usual their gap is; 1 keeps all",
        source="beta-DPO's rho",
        gt=0.0,
        le=1.0,
    )
    momentum: float = setting(
        0.9, "of the averages of the gap's mean and deviation", source="beta-DPO's m", ge=0.0, lt=1.0
    )
    min_beta: float = setting(1e-3, "smallest beta of a batch; there is no largest", source="official code", gt=0.0)
    gap_scale: float = setting(
        1.0,
        "1: gaps are raw log-ratios; beta: they are rewards",
        source="official code (the paper's symbol is a reward)",
        gt=0.0,
    )
    start: Literal["zero", "first_batch"] = setting(
        "zero", "averages from 0, or from the first batch's own numbers", source="official code"
    )


class SigmoidNormLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.rso:sigmoid_norm"

    name: Literal["sigmoid_norm"] = setting(
        "sigmoid_norm", "-log sigmoid(beta * h)", source="arXiv 2309.06657, section 3.1"
    )
    beta: float = setting(0.05, "the paper's gamma", source="RSO section 4: best of 0.005, 0.05, 0.5", gt=0.0)


class HingeNormLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.rso:hinge_norm"

    name: Literal["hinge_norm"] = setting("hinge_norm", "max(0, 1 - beta * h)", source="arXiv 2309.06657, section 3.1")
    beta: float = setting(0.05, "the paper's gamma", source="RSO section 4: best of 0.005, 0.05, 0.5", gt=0.0)


class IPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.ipo:ipo"

    name: Literal["ipo"] = setting("ipo", "(h - 1 / (2 tau))^2", source="arXiv 2310.12036, equation 17")
    tau: float = setting(
        0.1,
        "the target margin is 1 / (2 tau) nats, per token for mean",
        source="TRL; the paper recommends none",
        gt=0.0,
    )
    length_normalization: Literal["mean", "sum"] = setting(
        "mean", "log-ratios per token, or sums; a tau of one is no tau of the other", source="TRL, HALOs"
    )

    @property
    def beta_equivalent(self) -> float | None:
        """Sums are GPO's squared function at beta = 2 tau; means are per token."""
        return 4 * self.tau if self.length_normalization == "sum" else None


class GPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.gpo:gpo"

    name: Literal["gpo"] = setting("gpo", "f(beta * h)", source="arXiv 2402.05749, section 2")
    beta: float = setting(0.1, "strength; sweep it for each f", source="as DPO's", gt=0.0)
    f: Literal["logistic", "hinge", "squared", "exponential", "truncated_quadratic", "savage"] = setting(
        "logistic", "function of the margin that decreases at 0", source="GPO table 1: the first, which is DPO"
    )

    @property
    def beta_equivalent(self) -> float:
        """By the function's own strength |f''(0) / f'(0)|, which is 1/2 for the logistic one and 1 for these three."""
        return self.beta * (2 if self.f in ("squared", "exponential", "truncated_quadratic") else 1)


class DPOPLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.dpop:dpop"

    name: Literal["dpop"] = setting(
        "dpop", "-log sigmoid(beta * (h - lam * max(0, -a)))", source="arXiv 2402.13228, version 2"
    )
    beta: float = setting(0.3, "strength of the KL penalty", source="DPOP section 5", gt=0.0)
    lam: float = setting(
        50.0,
        "penalty on a chosen log-prob below the reference's; 0 is DPO",
        source="DPOP section 5; 5 to 500 alike",
        ge=0.0,
    )


class TDPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.tdpo:tdpo"
    distributions: ClassVar[bool] = True

    name: Literal["tdpo"] = setting(
        "tdpo", "DPO with both completions' forward KL in the margin", source="arXiv 2404.11999"
    )
    beta: float = setting(0.1, "strength of the KL penalty", source="official config/loss/tdpo.yaml", gt=0.0)
    alpha: float = setting(
        0.5, "weight of the KL difference in variant 2; 0 is DPO", source="official config/loss/tdpo.yaml", ge=0.0
    )
    variant: Literal[1, 2] = setting(2, "TDPO1 or TDPO2", source="TDPO table 1: the better one")

    def idle(self) -> dict[str, str]:
        return {"alpha": "variant is 1, which has no alpha"} if self.variant == 1 else {}


class SigmoidNormLengthLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.length_norm:sigmoid_norm_length"

    name: Literal["sigmoid_norm_length"] = setting(
        "sigmoid_norm_length", "DPO with log-ratios per token (TRL's sigmoid_norm)", source="arXiv 2411.15124"
    )
    beta: float = setting(5.0, "strength per token", source="Tulu 3 8B", gt=0.0)

    @property
    def beta_equivalent(self) -> None:
        return None
