"""The evaluate section: what is measured on held-out data."""

from typing import Literal

from preflow.settings.generate import DType
from preflow.settings.section import Section, setting


class EvaluateOptions(Section):
    """What the run file says about evaluation, beside its data and its judge."""

    baseline: Literal["reference", "chosen"] = setting(
        "reference",
        "what the policy's samples are judged against: the reference's samples, or the pairs' chosen texts",
        source="DPO section 6",
    )
    samples_per_prompt: int = setting(
        1,
        "samples of policy and baseline per prompt, each compared with each; 0: no samples, no win rate",
        source="one answer per prompt",
        ge=0,
    )
    max_prompts: int = setting(
        256, "held-out prompts that are sampled, the first by prompt hash", source="a standard error of 3 points", ge=1
    )
    temperature: float = setting(0.7, "softmax temperature of the samples", source="RSO section 4", gt=0.0)
    top_k: int = setting(40, "sample among the k likeliest tokens; 0: all", source="RSO section 4", ge=0)
    max_new_tokens: int = setting(64, "longest completion", source="as in generate", ge=1)
    kl_samples_per_prompt: int = setting(
        1,
        "samples at temperature 1 from all tokens for KL(policy || reference); 0: none",
        source="an unbiased estimate needs the policy's own law",
        ge=0,
    )
    confidence: float = setting(
        0.95, "of the bootstrap intervals (by prompt)", source="the usual level", gt=0.0, lt=1.0
    )
    batch_size: int = setting(64, "sequences decoded or judged at once", source="memory; changes no draw", ge=1)
    micro_batch_tokens: int = setting(4096, "tokens per forward pass", source="memory", ge=1)
    dtype: DType = setting("float32", "weights and activations", source="exact on every device")
    seed: int = setting(0, "draws are keyed by (seed, what is sampled, prompt_id, sample index)", source="fixed", ge=0)


class EvaluateSettings(EvaluateOptions):
    """What the step `evaluate` receives."""

    judge_function: str | None = setting(
        None, "name of the function in the judge's file", source="the run file's `judge: FILE:FUNCTION`"
    )
    judge_is_scorer: bool = setting(False, "the judge is the scorer that was trained on", source="found by content")
    beta: float = setting(
        0.1, "implicit reward = beta * log-ratio, for reward margins", source="the loss's own beta", gt=0.0
    )
