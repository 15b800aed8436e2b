"""Optimizers and learning-rate schedules by name."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from preflow.settings.train import TrainOptions


def make_optimizer(
    parameters: Iterable[Parameter],
    settings: TrainOptions,
    value: Iterable[Parameter] = (),
    value_learning_rate: float = 0.0,
) -> Optimizer:
    """AdamW or RMSprop with torch's own defaults for the rest; a value network is a group with a rate of its own."""
    groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": settings.learning_rate}]
    if trained := list(value):
        groups.append({"params": trained, "lr": value_learning_rate})
    kind = RMSprop if settings.optimizer == "rmsprop" else AdamW
    return kind(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def make_scheduler(optimizer: Optimizer, settings: TrainOptions, total_steps: int) -> LambdaLR:
    """Linear warm-up, then constant, linear to zero, or cosine to zero at `total_steps`."""
    warmup = settings.warmup_steps or math.ceil(total_steps * Fraction(str(settings.warmup_ratio)))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(1, total_steps - warmup)
        return 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, factor)


def clip_gradients(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale gradients to at most `max_norm`; returns the norm before."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(trained, max_norm)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
