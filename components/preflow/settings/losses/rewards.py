"""Losses that fit log-ratios to numbers: scores, win rates, preferences."""

from typing import ClassVar, Literal

from preflow.settings.objective import LossSection
from preflow.settings.section import setting


class DNOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.dno:dno"
    symmetric: ClassVar[bool] = True

    name: Literal["dno"] = setting(
        "dno", "cross-entropy of beta * h with the scores' difference", source="arXiv 2404.03715, equation 12"
    )
    beta: float = setting(0.1, "the paper's eta; divides the reward", source="DNO section 5.1 (0.1 or 0.05)", gt=0.0)
    reward_scale: float = setting(
        1.0, "scales the scores; large for nearly hard labels", source="win rates as they are (DNO algorithm 1)", gt=0.0
    )

    @property
    def beta_equivalent(self) -> float:
        return self.beta / self.reward_scale


class SPPOLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.sppo:sppo"
    symmetric: ClassVar[bool] = True

    name: Literal["sppo"] = setting(
        "sppo", "each log-ratio is regressed on eta * (win rate - 1/2)", source="arXiv 2405.00675, equation 4.7"
    )
    eta: float = setting(1000.0, "multiplies the reward: 1 / beta", source="SPPO section 5.1", gt=0.0)

    @property
    def beta_equivalent(self) -> float:
        return 1 / self.eta


class SPPOPairLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.sppo:sppo_pair"
    preferences: ClassVar[bool] = True

    name: Literal["sppo_pair"] = setting(
        "sppo_pair", "as sppo, on the pair's own preference", source="arXiv 2405.00675, equation 4.12"
    )
    eta: float = setting(1000.0, "multiplies the reward: 1 / beta", source="SPPO section 5.1", gt=0.0)

    @property
    def beta_equivalent(self) -> float:
        return 1 / self.eta


class SPPOHardLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.sppo:sppo_hard"

    name: Literal["sppo_hard"] = setting(
        "sppo_hard", "sppo_pair where the chosen always wins", source="arXiv 2405.00675, equation 4.12; TRL"
    )
    beta: float = setting(1e-3, "1 / eta", source="SPPO section 5.1: eta 1e3", gt=0.0)


class REBELLoss(LossSection):
    function: ClassVar[str] = "preflow.losses.rebel:rebel"
    symmetric: ClassVar[bool] = True

    name: Literal["rebel"] = setting(
        "rebel", "h / eta is regressed on the scores' difference", source="arXiv 2404.16767"
    )
    eta: float = setting(
        1.0,
        "nats per unit of the score: 1 / beta",
        source="scores as they are; 1e6 in the official large-batch script",
        gt=0.0,
    )

    @property
    def beta_equivalent(self) -> float:
        return 1 / self.eta
