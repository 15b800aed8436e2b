"""The value network's loss in PPO, and how much of the returns it explains."""

import torch
from torch import Tensor


def clipped_value(values: Tensor, old_values: Tensor, returns: Tensor, *, epsilon: float = 0.2) -> Tensor:
    """max((V - R)^2, (clip(V, V_old - epsilon, V_old + epsilon) - R)^2) / 2, element by element; shapes [B] or [B, T].

    Args:
        values: the value network's numbers now; carries a gradient.
        old_values: the same when the sequences were sampled.
        returns: advantages + old values.
        epsilon: > 0, in units of the reward; 0.2 as in the PPO implementations of InstructGPT's line.

    >>> clipped_value(torch.tensor([0.9]), torch.tensor([0.5]), torch.tensor([1.0]))  # (0.7 - 1)^2 / 2
    tensor([0.0450])
    """
    if not values.shape == old_values.shape == returns.shape:
        raise ValueError(
            f"expected one shape, found {tuple(values.shape)}, {tuple(old_values.shape)}, {tuple(returns.shape)}"
        )
    old, wanted = old_values.detach(), returns.detach()
    clipped = torch.minimum(torch.maximum(values, old - epsilon), old + epsilon)
    return 0.5 * torch.maximum((values - wanted).square(), (clipped - wanted).square())


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(R - V) / Var(R): 1 for a perfect value, 0 for a constant one; 0 where the returns do not vary.

    >>> explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
    1.0
    """
    total = returns.detach().double().var(correction=0).item()
    left = (returns - values).detach().double().var(correction=0).item()
    return 1 - left / total if total > 0 else 0.0
