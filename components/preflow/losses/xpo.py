"""XPO: online DPO with a bonus for leaving the reference: what the reference wrote is made a little less likely.

    L = DPO + alpha * log pi(y),   y: the one completion of the pair that was sampled from the reference

Xie et al. 2024, arXiv 2405.21046: the pair is one sample of the policy and one of the reference, labelled by a judge.
"""

import torch
from torch import Tensor

from preflow.losses.dpo import dpo
from preflow.losses.logps import check_same_shape


def xpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_is_reference_sample: Tensor,
    *,
    beta: float = 0.1,
    alpha: float = 1e-5,
) -> Tensor:
    """DPO + alpha * log pi(the reference's sample), [B] nats.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_is_reference_sample: [B] bool: the chosen one came from the reference; else the rejected one did.
        beta: > 0; 0.1 as in TRL.
        alpha: >= 0; strength of the exploration bonus, 1e-5 as in TRL. 0 is DPO.

    >>> zero = torch.zeros(1)
    >>> xpo(zero - 2, zero - 3, zero - 2, zero - 3, torch.tensor([False]), alpha=0.1)  # log 2 - 0.3
    tensor([0.3931])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, chosen_is_reference_sample=chosen_is_reference_sample)
    losses = dpo(
        policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta=beta
    )
    sampled = torch.where(chosen_is_reference_sample.bool(), policy_chosen_logps, policy_rejected_logps)
    return losses + alpha * sampled
