"""The generate section: how candidates are sampled."""

from typing import Literal

from preflow.settings.section import Section, setting

DType = Literal["float32", "bfloat16", "float16"]


class GenerateOptions(Section):
    """What the run file says about sampling."""

    candidates_per_prompt: int = setting(
        8, "N samples per prompt", source="RSO section 4 samples 64; 8 is a laptop's share", ge=1
    )
    temperature: float = setting(0.7, "softmax temperature", source="RSO section 4", gt=0.0)
    top_k: int = setting(40, "sample among the k likeliest tokens; 0: all", source="RSO section 4", ge=0)
    max_new_tokens: int = setting(64, "longest completion", source="a laptop's share", ge=1)
    batch_size: int = setting(64, "sequences decoded at once", source="memory; changes no draw", ge=1)
    dtype: DType = setting("float32", "weights and activations", source="exact on every device")
    seed: int = setting(0, "draws are keyed by (seed, prompt_id, sample index)", source="fixed", ge=0)
    instruction: str | None = setting(
        None,
        "a system turn put before the prompt while sampling, and only then: the completions are trained on behind the prompt alone",
        source="D2O samples under a moral instruction",
    )


class GenerateSettings(GenerateOptions):
    """What the step `generate_candidates` receives."""

    round: int = setting(0, "which round samples, from 0; keys the draws", source="the graph", ge=0)
    shard: int = setting(0, "which share of the prompts, by prompt hash", source="the graph", ge=0)
    shards: int = setting(1, "shares in all", source="the graph", ge=1)
