"""The loss section: a name, and exactly the keyword arguments of that loss. Steps never import this file: what they
receive is the loss's dotted name and its arguments, so that another loss's page changes nobody's cache key."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from preflow.settings.section import Section, setting


class DPOLoss(Section):
    function: ClassVar[str] = "preflow.losses.dpo:dpo"

    name: Literal["dpo"] = setting("dpo", "softplus(-beta * h)", source="arXiv 2305.18290, equation 7")
    beta: float = setting(0.1, "strength of the KL penalty", source="DPO appendix B; 0.5 for TL;DR", gt=0.0)
    label_smoothing: float = setting(
        0.0,
        "probability that a label is flipped (conservative DPO)",
        source="Mitchell 2023, cDPO note, equation 3",
        ge=0.0,
        lt=0.5,
    )


class SigmoidNormLoss(Section):
    function: ClassVar[str] = "preflow.losses.rso:sigmoid_norm"

    name: Literal["sigmoid_norm"] = setting(
        "sigmoid_norm", "softplus(-beta * h)", source="arXiv 2309.06657, section 3.1"
    )
    beta: float = setting(0.05, "the paper's gamma", source="RSO section 4: best of 0.005, 0.05, 0.5", gt=0.0)


class HingeNormLoss(Section):
    function: ClassVar[str] = "preflow.losses.rso:hinge_norm"

    name: Literal["hinge_norm"] = setting("hinge_norm", "max(0, 1 - beta * h)", source="arXiv 2309.06657, section 3.1")
    beta: float = setting(0.05, "the paper's gamma", source="RSO section 4: best of 0.005, 0.05, 0.5", gt=0.0)


LOSSES: tuple[type[Section], ...] = (DPOLoss, SigmoidNormLoss, HingeNormLoss)
LossSettings = Annotated[DPOLoss | SigmoidNormLoss | HingeNormLoss, Field(discriminator="name")]


def loss_names() -> list[str]:
    """Names that `loss: {name: ...}` takes."""
    return [model.model_fields["name"].default for model in LOSSES]


def loss_function(loss: Any) -> str:
    """`module:function` of a loss section."""
    return type(loss).function


def loss_arguments(loss: Section) -> dict[str, Any]:
    """The keyword arguments that the loss function is called with."""
    return loss.model_dump(mode="json", exclude={"name"})
