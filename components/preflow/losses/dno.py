"""DNO: the margin is fitted to the difference of two rewards by a cross-entropy with a soft target.

    t = sigmoid(reward_scale * (r_1 - r_2)),   L = -t * log sigmoid(beta * h) - (1 - t) * log sigmoid(-beta * h)

Rosset et al. 2024, arXiv 2404.03715, equations 8 and 12 (the paper's eta is beta here); its practical form DNO-Prct
(equation 13) is DPO's loss on filtered pairs. The minimum is beta * h = reward_scale * (r_1 - r_2), where the loss is the
entropy of t, not 0.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, logistic, margin


def dno(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_scores: Tensor,
    rejected_scores: Tensor,
    *,
    beta: float = 0.1,
    reward_scale: float = 1.0,
) -> Tensor:
    """The cross-entropy, [B] nats; "chosen" is the first completion, it need not have the higher score.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`; the reference is the policy of
            the round's start.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_scores, rejected_scores: [B], win rates against that policy's samples, in [0, 1], or other rewards.
        beta: > 0; 0.1 or 0.05 in section 5.1 (for DNO-Prct).
        reward_scale: > 0; the paper's c, with which hard labels become right: it scales rewards and beta alike.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> dno(zero + 4, zero, zero, zero, zero + 0.75, zero + 0.25, beta=0.125)  # beta * h = 0.5 = the target
    tensor([0.6628])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps, chosen_scores=chosen_scores, rejected_scores=rejected_scores
    )
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    difference = reward_scale * (chosen_scores - rejected_scores).detach()
    return difference.sigmoid() * logistic(beta * h) + (-difference).sigmoid() * logistic(-beta * h)
