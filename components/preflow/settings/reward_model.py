"""The reward_model section: a reward model trained on human pairs, inside the workflow."""

from typing import Literal

from preflow.settings.more_data import MoreData
from preflow.settings.section import setting
from preflow.settings.train import Term, TrainOptions, TrainSettings

HeadKind = Literal["scalar", "pairwise"]
LOSSES = "preflow.losses.reward_model"


class RewardModelOptions(TrainOptions):
    """What the run file says about the reward model. `batch_size` counts prompts: all pairs of a prompt are one example."""

    head: HeadKind = setting(
        "scalar",
        "scalar: a Bradley-Terry reward per completion; pairwise: which of two completions in one text wins",
        source="InstructGPT section 3.5; SLiC-HF and RSO rank pairs",
    )
    learning_rate: float = setting(9e-6, "peak", source="InstructGPT appendix C", gt=0.0)
    schedule: Literal["constant", "linear", "cosine"] = setting(
        "cosine", "after the warm-up", source="InstructGPT appendix C (there to a tenth of the peak)"
    )
    center_coefficient: float = setting(
        0.0,
        "of the mean squared sum of a pair's rewards: keeps them around zero; scalar heads only",
        source="Bradley-Terry is shift-invariant; TRL 1.16 leaves it off",
        ge=0.0,
    )

    def terms(self) -> tuple[Term, ...]:
        """The objective of the head."""
        if self.head == "scalar":
            return (Term(loss=f"{LOSSES}:bradley_terry", arguments={"center": self.center_coefficient}),)
        return (Term(loss=f"{LOSSES}:ranking", roles={"comparison": "comparison"}),)


class RewardModelSection(RewardModelOptions):
    data: MoreData | None = setting(None, "human pairs; none: the data's own pairs", source="the data's own")


class RewardModelSettings(TrainSettings):
    """What the step `train_reward_model` receives."""

    head: HeadKind = setting("scalar", "as in reward_model", source="reward_model")
