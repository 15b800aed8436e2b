"""REBEL: the difference of two log-ratios is regressed on the difference of two rewards.

    L = (h / eta - (r_1 - r_2))^2

Gao et al. 2024, arXiv 2404.16767: the partition function of the KL-regularised optimum cancels in the difference.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, margin


def rebel(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_scores: Tensor,
    rejected_scores: Tensor,
    *,
    eta: float = 1.0,
) -> Tensor:
    """(h / eta - (r_1 - r_2))^2, [B], in squared units of the score; "chosen" is the first completion.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`; the reference is the policy of
            the round's start.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_scores, rejected_scores: [B] rewards.
        eta: > 0 nats per unit of the score; 1 / eta is in units of DPO's beta. The target margin is eta * (r_1 - r_2).

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> rebel(zero + 1, zero, zero, zero, zero + 0.75, zero + 0.25, eta=2.0)  # 1 / 2 = 0.75 - 0.25
    tensor([0.])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps, chosen_scores=chosen_scores, rejected_scores=rejected_scores
    )
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return (h / eta - (chosen_scores - rejected_scores)).square()
