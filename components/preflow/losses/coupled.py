"""What a loss returns whose value for an example depends on the other examples of the optimizer batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Coupled:
    """`losses` [B] nats; `weights` [B] of the mean (1 for a kept example, 0 for one left out; None: all are kept).

    `state` holds what the next batch needs (moving averages, by name), `metrics` what is worth a curve. A coupled loss
    may take `state` (from before this batch, empty at the first) and `draws` [B] (uniforms in [0, 1)) by these names.
    """

    losses: Tensor
    weights: Tensor | None = None
    state: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
