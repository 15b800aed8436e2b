"""The generate section: how candidates are sampled."""

from typing import Literal

from preflow.settings.section import Section, setting

DType = Literal["float32", "bfloat16", "float16"]


class GenerateSettings(Section):
    candidates_per_prompt: int = setting(
        8, "N samples per prompt", source="RSO section 4 samples 64; 8 is a laptop's share", ge=1
    )
    temperature: float = setting(0.7, "softmax temperature", source="RSO section 4", gt=0.0)
    top_k: int = setting(40, "sample among the k likeliest tokens; 0: all", source="RSO section 4", ge=0)
    max_new_tokens: int = setting(64, "longest completion", source="a laptop's share", ge=1)
    batch_size: int = setting(64, "sequences decoded at once", source="memory; changes no draw", ge=1)
    dtype: DType = setting("float32", "weights and activations", source="exact on every device")
    seed: int = setting(0, "draws are keyed by (seed, prompt_id, sample index)", source="fixed", ge=0)
