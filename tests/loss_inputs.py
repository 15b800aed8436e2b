"""Inputs for any loss, made from the names in its signature."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from preflow.losses.coupled import Coupled
from preflow.settings.loss import LOSSES

Loss = Callable[..., Any]
SAMPLES = 4  # sequences of a role that has several
OTHERS = (
    "preflow.losses.likelihood:nll",
    "preflow.losses.likelihood:nll_per_token",
    "preflow.losses.divergence:forward_kl",
    "preflow.losses.reward_model:bradley_terry",
    "preflow.losses.reward_model:bradley_terry_margin",
    "preflow.losses.reward_model:bradley_terry_ranked",
    "preflow.losses.reward_model:ranking",
    "preflow.losses.d2o:d2o_masked",
    "preflow.losses.wpo:wpo",
    "preflow.losses.xpo:xpo",
    "preflow.losses.nash_md:nash_md",
)


def find(path: str) -> Loss:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


ALL = [find(path) for path in (*[model.function for model in LOSSES], *OTHERS)]


def parameters(loss: Loss) -> list[str]:
    """Names of the positional parameters."""
    return [each.name for each in inspect.signature(loss).parameters.values() if each.kind is not each.KEYWORD_ONLY]


def is_trained(name: str) -> bool:
    return name.startswith("policy_") or name.endswith(("_kls", "_values", "_rewards"))


def make_input(name: str, size: int, scale: float, dtype: torch.dtype, generator: torch.Generator) -> Any:
    """A number per example (or several) that fits the name; log-probs and scores are of the size `scale`."""
    several = "self_sample" in name or name.startswith("ranked_")
    shape = (size, SAMPLES) if several else (size,)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    if name == "state":
        return {}
    if name in ("desirable", "first_wins", "chosen_is_reference_sample", "self_sample_mask"):
        return uniform > 0.5
    if name.endswith("_win_rates") or name in ("preferences", "draws"):
        return uniform.to(dtype)
    if name.endswith("_num_tokens"):
        return (1 + (9 * uniform).floor()).to(dtype)
    if name.endswith("_logps"):
        value = -scale * uniform
    elif name.endswith("_kls"):
        value = scale * uniform
    else:
        value = scale * (2 * uniform - 1)
    return value.to(dtype).requires_grad_(is_trained(name))


def make_inputs(
    loss: Loss, size: int = 6, scale: float = 5.0, dtype: torch.dtype = torch.float64, seed: int = 0
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {name: make_input(name, size, scale, dtype, generator) for name in parameters(loss)}


def losses_of(found: Any) -> Tensor:
    return found.losses if isinstance(found, Coupled) else found
