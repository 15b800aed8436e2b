"""What some families do to the output of their LM head before the softmax."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class LogitShape:
    """logits = scale * raw, then softly capped: cap * tanh(. / cap). Granite and Cohere scale, Gemma 2 caps."""

    scale: float = 1.0
    cap: float | None = None

    def of(self, raw: Tensor) -> Tensor:
        logits = raw if self.scale == 1 else raw * self.scale
        return logits if self.cap is None else self.cap * (logits / self.cap).tanh()

    def slope(self, slope: Tensor, logits: Tensor) -> Tensor:
        """d/d raw from d/d logits: d tanh = 1 - tanh^2."""
        if self.cap is not None:
            slope = slope * (1 - (logits / self.cap) ** 2)
        return slope if self.scale == 1 else slope * self.scale


PLAIN = LogitShape()


def logit_shape(config: Any) -> LogitShape:
    """From a model's configuration, by the names that transformers gives these numbers."""
    text = config.get_text_config()
    scale = (getattr(text, "logit_scale", None) or 1.0) / (getattr(text, "logits_scaling", None) or 1.0)
    return LogitShape(float(scale), getattr(text, "final_logit_softcapping", None))
