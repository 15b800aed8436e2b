"""RSO's losses: sigmoid-norm and hinge-norm. "norm" means normalised by the SFT policy, not by length.

Liu et al. 2024, arXiv 2309.06657, section 3.1. The paper's gamma is `beta` here, apart from the rejection sampler's
temperature (the paper's beta).
"""

from torch import Tensor
from torch.nn.functional import softplus

from preflow.losses.logps import margin


def sigmoid_norm(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.05,
) -> Tensor:
    """softplus(-beta * h), [B] nats; DPO's loss, on pairs that the rejection sampler made.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; the paper's gamma, 0.05 the best of 0.005, 0.05, 0.5.
    """
    return softplus(
        -beta * margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    )


def hinge_norm(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.05,
) -> Tensor:
    """max(0, 1 - beta * h), [B]; the subgradient at the kink is 0.

    Args as in `sigmoid_norm`.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> hinge_norm(zero - 2, zero - 5, zero - 3, zero - 4, beta=0.25)  # h = 2, 1 - 0.5
    tensor([0.5000])
    """
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return (1 - beta * h).relu()
