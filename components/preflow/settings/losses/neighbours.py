"""Losses of pairs with a reference that no method of ours has for its own: they may stand in for one that fits the data."""

from typing import ClassVar, Literal

from preflow.settings.objective import LossSection
from preflow.settings.section import setting

INDEX = "TRL 1.16, index of papers"


class EXOPairLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.exo:exo_pair"

    name: Literal["exo_pair"] = setting("exo_pair", "reverse KL to the label", source="arXiv 2402.00856")
    beta: float = setting(0.1, "strength of the KL penalty", source=INDEX, gt=0.0)
    label_smoothing: float = setting(
        1e-3, "probability that a label is flipped; 0 would be infinite", source=INDEX, gt=0.0, lt=0.5
    )


class NCAPairLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.nca:nca_pair"

    name: Literal["nca_pair"] = setting("nca_pair", "noise contrastive alignment", source="arXiv 2402.05369")
    beta: float = setting(0.01, "strength of the KL penalty", source=INDEX, gt=0.0)


class BCOPairLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.bco:bco_pair"
    coupled: ClassVar[bool] = True

    name: Literal["bco_pair"] = setting(
        "bco_pair", "binary classifier of completions, above a shift", source="arXiv 2404.04656"
    )
    beta: float = setting(0.01, "strength of the KL penalty", source=INDEX, gt=0.0)
    shift: Literal["running_mean", "class_means"] = setting(
        "running_mean",
        "of all rewards so far, or half the sum of the batch's class means (the paper)",
        source="TRL's BCO",
    )


class AOTUnpairedLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.aot:aot_unpaired"
    coupled: ClassVar[bool] = True

    name: Literal["aot_unpaired"] = setting(
        "aot_unpaired", "sorted chosen against sorted rejected log-ratios", source="arXiv 2406.05882"
    )
    beta: float = setting(0.01, "strength of the KL penalty", source=INDEX, gt=0.0)
    label_smoothing: float = setting(0.0, "as in dpo", source="as in dpo", ge=0.0, lt=0.5)


class AOTPairedLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.aot:aot_paired"
    coupled: ClassVar[bool] = True

    name: Literal["aot_paired"] = setting(
        "aot_paired", "the policy's sorted gaps against the reference's", source="arXiv 2406.05882"
    )
    beta: float = setting(0.01, "strength of the KL penalty", source=INDEX, gt=0.0)
    label_smoothing: float = setting(0.0, "as in dpo", source="as in dpo", ge=0.0, lt=0.5)


class APOZeroLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.apo:apo_zero"

    name: Literal["apo_zero"] = setting("apo_zero", "chosen up, rejected down", source="arXiv 2408.06266")
    beta: float = setting(0.1, "strength of the KL penalty", source=INDEX, gt=0.0)


class APODownLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.apo:apo_down"

    name: Literal["apo_down"] = setting("apo_down", "both down, rejected further", source="arXiv 2408.06266")
    beta: float = setting(0.1, "strength of the KL penalty", source=INDEX, gt=0.0)


class RPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.rpo:rpo"
    coupled: ClassVar[bool] = True

    name: Literal["rpo"] = setting("rpo", "DPO + alpha * NLL(chosen)", source="arXiv 2405.16436")
    beta: float = setting(0.01, "strength of the KL penalty", source=INDEX, gt=0.0)
    alpha: float = setting(0.005, "weight of the NLL", source=INDEX, ge=0.0)
    nll_reduction: Literal["token_mean", "seq_mean", "sum"] = setting(
        "token_mean", "over the batch's tokens, each completion's (Iterative RPO), or none", source="RPO's code"
    )


class DiscoPOPLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.discopop:discopop"

    name: Literal["discopop"] = setting(
        "discopop", "logistic and exponential, mixed by the margin", source="arXiv 2406.08414"
    )
    beta: float = setting(0.05, "strength of the KL penalty", source=INDEX, gt=0.0)
    tau: float = setting(0.05, "width of the change between both", source=INDEX, gt=0.0, le=1.0)
