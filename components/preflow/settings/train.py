"""The train section: optimizer, batches and the objective, for every method alike.

An objective is a list of terms. A term names its loss as `module:function`; the function's own signature says which
log-probs it takes, and its keyword-only arguments are checked against `arguments` before a model is loaded.
"""

from typing import Any, Literal

from preflow.settings.generate import DType
from preflow.settings.section import Section, setting

Reduction = Literal["example_mean", "token_mean", "kept_mean"]
LOSS_FILE = "loss_file"
"""In place of a module: the input with a loss of the user's own."""
MAX_SEED = 2**63 - 1  # the largest that torch takes


class Term(Section):
    """coefficient * reduction(loss(numbers of the sequences in `roles` of `stream`))."""

    stream: Literal["data", "companion"] = setting("data", "where the examples come from", source="one stream")
    roles: dict[str, str] = setting(
        {"chosen": "chosen", "rejected": "rejected"}, "role in the loss's signature -> role in the data", source="pairs"
    )
    loss: str = setting("preflow.losses.dpo:dpo", "module:function", source="DPO")
    arguments: dict[str, Any] = setting({}, "keyword arguments of the loss", source="the loss's own defaults")
    reduction: Reduction = setting("example_mean", "over the whole optimizer batch", source="every pairwise paper")
    coefficient: float = setting(1.0, "weight of this term", source="a sum of terms")
    coupled: bool = setting(False, "the loss of an example depends on the others of its batch", source="most do not")


class LoraSettings(Section):
    rank: int = setting(16, "r", source="peft's usual size for alignment", ge=1)
    alpha: float = setting(32.0, "scale is alpha / rank", source="2 x rank", gt=0.0)
    targets: str = setting("all-linear", "module names (comma-separated) or all-linear", source="QLoRA section 4")


class TrainOptions(Section):
    """What the run file says about training, beside the loss."""

    learning_rate: float = setting(1e-6, "peak", source="DPO appendix B", gt=0.0)
    batch_size: int = setting(64, "examples per optimizer step", source="DPO appendix B", ge=1)
    epochs: int = setting(1, "passes over the training rows", source="DPO official config.yaml", ge=1)
    max_steps: int | None = setting(None, "stop after this many optimizer steps", source="epochs decide", ge=1)
    warmup_steps: int = setting(0, "linear warm-up", source="DPO warms up 150 steps on 100x more data", ge=0)
    warmup_ratio: float = setting(
        0.0, "linear warm-up as a share of all steps, where warmup_steps is 0", source="as warmup_steps", ge=0.0, le=1.0
    )
    schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "after the warm-up", source="DPO official code"
    )
    optimizer: Literal["adamw", "rmsprop"] = setting("adamw", "torch's own", source="TRL 1.16; DPO used RMSprop")
    weight_decay: float = setting(0.0, "decoupled", source="TRL 1.16", ge=0.0)
    max_grad_norm: float = setting(
        10.0, "gradients are clipped to this norm", source="DPO official config.yaml", gt=0.0
    )
    micro_batch_tokens: int = setting(
        4096, "tokens per forward and backward pass", source="memory; changes no result beyond rounding", ge=1
    )
    gradient_checkpointing: bool = setting(
        False, "recompute activations in the backward pass", source="memory against a third more time"
    )
    parallel: Literal["ddp", "fsdp"] = setting(
        "ddp",
        "with several devices (accelerator_count of the hardware): all weights on each, or each a share of them",
        source="memory; changes no result beyond rounding",
    )
    lora: LoraSettings | None = setting(
        None, "train a LoRA adapter instead of all weights", source="full fine-tuning is what the papers did"
    )
    dtype: DType = setting(
        "float32", "weights and activations; log-probs are float32 always", source="exact on every device"
    )
    seed: int = setting(0, "order of the rows", source="fixed", ge=0, le=MAX_SEED)
    checkpoint_steps: int = setting(
        50, "optimizer steps between checkpoints", source="minutes of work at most are lost", ge=1
    )


class TrainSection(TrainOptions):
    value_learning_rate: float | None = setting(
        None, "of the value network; null: the policy's", source="DRO section 4: the same for both", gt=0.0
    )


class TrainSettings(TrainOptions):
    """What the step `train_preference` receives."""

    objective: tuple[Term, ...] = setting((Term(),), "the terms of the objective, summed", source="the loss section")
    beta_equivalent: float | None = setting(
        0.1,
        "the loss's strength in units of DPO's beta, so that sweeps compare like with like; null: it has none",
        source="the loss",
        gt=0.0,
    )
    standardise_scores: bool = setting(
        False, "shift and scale the data's scores to mean 0 and deviation 1", source="DRO section 4"
    )
    value_learning_rate: float = setting(
        1e-4, "of the value network, where the loss takes one", source="DRO section 4: as the policy's", gt=0.0
    )
