"""The reward_model section: a reward model trained on human pairs, inside the workflow."""

from typing import Literal

from preflow.settings.more_data import MoreData
from preflow.settings.section import setting
from preflow.settings.train import TrainOptions


class RewardModelSettings(TrainOptions):
    """What the step `train_reward_model` receives. `batch_size` counts prompts: all pairs of a prompt are one example."""

    head: Literal["scalar", "pairwise"] = setting(
        "scalar",
        "scalar: a Bradley-Terry reward per completion; pairwise: which of two completions in one text wins",
        source="InstructGPT section 3.5; SLiC-HF and RSO rank pairs",
    )
    learning_rate: float = setting(9e-6, "peak", source="InstructGPT appendix C", gt=0.0)
    schedule: Literal["constant", "linear", "cosine"] = setting("cosine", "after the warm-up", source="InstructGPT appendix C")
    center_coefficient: float = setting(
        0.0,
        "of the mean squared sum of a pair's rewards: keeps them around zero; scalar heads only",
        source="Bradley-Terry is shift-invariant; TRL 1.16 leaves it off",
        ge=0.0,
    )


class RewardModelSection(RewardModelSettings):
    data: MoreData | None = setting(None, "human pairs; none: the data's own pairs", source="the data's own")
