"""The reference section: how reference log-probs are computed."""

from preflow.settings.generate import DType
from preflow.settings.section import Section, setting


class ReferenceSettings(Section):
    micro_batch_tokens: int = setting(
        4096, "tokens per forward pass", source="memory; changes no result beyond rounding", ge=1
    )
    dtype: DType = setting("float32", "weights and activations", source="exact on every device")


class ReferenceSection(ReferenceSettings):
    """With the two references of a loss that reads the policy's own samples."""

    helpful: str | None = setting(
        None, "model that unwanted completions are held against: folder, hub id or URI", source="D2O: the start model"
    )
    harmful: str | None = setting(
        None, "model that the policy's samples are held against: folder, hub id or URI", source="D2O: the start model"
    )
