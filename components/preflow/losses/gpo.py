"""GPO: any convex function of the margin in the place of DPO's logistic one.

    L = f(beta * h),   f decreasing at 0

Tang et al. 2024, arXiv 2402.05749, section 2 and table 1: logistic gives DPO, hinge SLiC with a reference (RSO's
hinge-norm), squared IPO up to the factor (2 tau)^2 with beta = 2 tau.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from preflow.losses.logps import bounded_exp, logistic, margin

Function = Literal["logistic", "hinge", "squared", "exponential", "truncated_quadratic", "savage"]


def exponential(x: Tensor) -> Tensor:
    """exp(-x), [B]; below x = -43.7 in float32 (-664.8 in float64) constant, see `bounded_exp`."""
    return bounded_exp(-x)


def truncated_quadratic(x: Tensor) -> Tensor:
    """max(0, 1 - x)^2, [B]: the squared function without its pull back from beyond 1."""
    return (1 - x).relu().square()


def savage(x: Tensor) -> Tensor:
    """sigmoid(-x)^2, [B]: bounded, and not convex below x = -log 2, so that hopeless pairs hardly count."""
    return (-x).sigmoid().square()


FUNCTIONS: Mapping[Function, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "logistic": logistic,
        "hinge": lambda x: (1 - x).relu(),
        "squared": lambda x: (x - 1).square(),
        "exponential": exponential,
        "truncated_quadratic": truncated_quadratic,
        "savage": savage,
    }
)


def gpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
    f: Function = "logistic",
) -> Tensor:
    """f(beta * h), [B].

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; the best one differs with the function as |f''(0) / f'(0)| does: 1/2 for logistic and savage, 1 for
            squared, exponential and truncated_quadratic, 0 for hinge. 0.1 as DPO's.
        f: one of `FUNCTIONS`.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> {name: round(gpo(zero, zero, zero, zero, f=name).item(), 4) for name in FUNCTIONS}  # doctest: +NORMALIZE_WHITESPACE
    {'logistic': 0.6931, 'hinge': 1.0, 'squared': 1.0, 'exponential': 1.0, 'truncated_quadratic': 1.0, 'savage': 0.25}
    """
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return FUNCTIONS[f](beta * h)
