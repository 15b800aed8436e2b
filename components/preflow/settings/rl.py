"""The rl section: on-policy reinforcement learning with a KL penalty to the reference."""

from typing import Literal

from preflow.settings.score import ScoreSettings
from preflow.settings.section import setting
from preflow.settings.train import TrainOptions


class RLOptions(TrainOptions):
    """What the run file says. `batch_size` counts sampled completions per update, `epochs` passes over a rollout."""

    parallel: Literal["ddp"] = setting("ddp", "rl trains on one device", source="sampling takes most of its time")
    algorithm: Literal["ppo", "rloo", "grpo"] = setting(
        "ppo", "PPO with a value network; RLOO and GRPO do without one", source="InstructGPT section 3.5"
    )
    rollouts: int = setting(16, "times the policy is sampled and trained", source="a laptop's share", ge=1)
    prompts_per_rollout: int = setting(16, "prompts of a rollout", source="a laptop's share", ge=1)
    samples_per_prompt: int = setting(4, "completions of each; the group of RLOO and GRPO", source="RLOO: 2 to 4", ge=1)
    max_new_tokens: int = setting(64, "longest completion", source="as in generate", ge=1)
    sampling_batch_size: int = setting(
        64, "sequences decoded or scored at once", source="memory; changes no draw", ge=1
    )
    epochs: int = setting(1, "passes over a rollout", source="InstructGPT appendix C: one inner epoch", ge=1)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm", source="TRL 1.16 RLOO", gt=0.0)
    beta: float = setting(
        0.05,
        "strength of the KL penalty to the reference, in units of the score per nat",
        source="TRL 1.16 RLOO",
        ge=0.0,
    )
    kl_target: float | None = setting(
        None, "nats per completion that an adaptive controller steers beta to", source="fixed beta", gt=0.0
    )
    kl_gain: float = setting(
        0.1, "how fast the controller moves beta, per rollout", source="arXiv 1909.08593, section 2.2", gt=0.0
    )
    clip: float = setting(0.2, "epsilon of the clipped ratio", source="PPO section 6.1", gt=0.0, lt=1.0)
    value_clip: float = setting(0.2, "epsilon of the clipped value (ppo)", source="PPO's own code", gt=0.0)
    value_learning_rate: float = setting(
        1e-5, "of the value network (ppo)", source="ten times the policy's: it starts further behind", gt=0.0
    )
    gae_lambda: float = setting(
        0.95, "lambda of the advantage estimate (ppo)", source="InstructGPT appendix C", ge=0.0, le=1.0
    )
    discount: float = setting(1.0, "gamma (ppo); none for texts", source="InstructGPT appendix C", gt=0.0, le=1.0)
    whiten: bool = setting(
        True, "advantages of a rollout to mean 0 and deviation 1 (ppo)", source="InstructGPT's baseline code"
    )
    token_mean: Literal["completion", "batch"] = setting(
        "completion",
        "grpo averages over the tokens of each completion first, or over those of the batch",
        source="arXiv 2402.03300, equation 3; batch is TRL's dapo",
    )
    missing_end_penalty: float = setting(
        1.0, "taken off the score of a completion that did not end", source="Stiennon et al. 2020 penalise it", ge=0.0
    )
    early_stop_kl: float | None = setting(
        None, "nats per token between new and old policy at which a rollout's passes end", source="off", gt=0.0
    )


class RLSettings(RLOptions):
    """What the step `train_rl` receives."""

    score: ScoreSettings = setting(ScoreSettings(), "who scores the completions", source="the score section")
