"""The loss section: a name, the keyword arguments of that loss, and the weights of the terms beside it.

Steps never import this file: what they receive is the loss's dotted name and its arguments, so that another loss's page
changes nobody's cache key.
"""

from typing import Annotated, Any

from pydantic import Field

from preflow.settings.losses.completions import (
    D2OLoss,
    DROLoss,
    GradientAscentLoss,
    KTOLoss,
    NPOLoss,
    PPOSeqLoss,
    ReinforceLoss,
)
from preflow.settings.losses.neighbours import (
    AOTPairedLoss,
    AOTUnpairedLoss,
    APODownLoss,
    APOZeroLoss,
    BCOPairLoss,
    DiscoPOPLoss,
    EXOPairLoss,
    NCAPairLoss,
    RPOLoss,
    WPOLoss,
    XPOLoss,
)
from preflow.settings.losses.pairs import (
    BetaDPOLoss,
    DPOLoss,
    DPOPLoss,
    GPOLoss,
    HingeNormLoss,
    IPOLoss,
    RobustDPOLoss,
    SigmoidNormLengthLoss,
    SigmoidNormLoss,
    TDPOLoss,
)
from preflow.settings.losses.reference_free import CPOLoss, HingeLoss, ORPOLoss, SimPOLoss, SLiCLoss
from preflow.settings.losses.rewards import (
    DNOLoss,
    NashMDLoss,
    REBELLoss,
    SPPOHardLoss,
    SPPOLoss,
    SPPOPairLoss,
)
from preflow.settings.objective import LossSection

AnyLoss = (
    DPOLoss
    | RobustDPOLoss
    | BetaDPOLoss
    | SigmoidNormLoss
    | HingeNormLoss
    | IPOLoss
    | GPOLoss
    | DPOPLoss
    | TDPOLoss
    | SigmoidNormLengthLoss
    | HingeLoss
    | SLiCLoss
    | CPOLoss
    | SimPOLoss
    | ORPOLoss
    | DNOLoss
    | SPPOLoss
    | SPPOPairLoss
    | SPPOHardLoss
    | REBELLoss
    | NashMDLoss
    | KTOLoss
    | DROLoss
    | D2OLoss
    | NPOLoss
    | GradientAscentLoss
    | ReinforceLoss
    | PPOSeqLoss
    | EXOPairLoss
    | NCAPairLoss
    | BCOPairLoss
    | AOTUnpairedLoss
    | AOTPairedLoss
    | APOZeroLoss
    | APODownLoss
    | RPOLoss
    | WPOLoss
    | DiscoPOPLoss
    | XPOLoss
)
LOSSES: tuple[type[LossSection], ...] = AnyLoss.__args__
LossSettings = Annotated[AnyLoss, Field(discriminator="name")]


def loss_names() -> list[str]:
    """Names that `loss: {name: ...}` takes."""
    return [model.model_fields["name"].default for model in LOSSES]


def loss_function(loss: LossSection) -> str:
    """`module:function` of a loss section."""
    return loss.function


def loss_arguments(loss: LossSection) -> dict[str, Any]:
    """The keyword arguments that the loss function is called with."""
    return loss.arguments()
