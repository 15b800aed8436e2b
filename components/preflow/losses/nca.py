"""NCA: noise contrastive alignment; the likelihood of the chosen completion itself is held up, not only the margin.

    L = -log sigmoid(beta * a) - log sigmoid(-beta * a) / 2 - log sigmoid(-beta * b) / 2

Chen et al. 2024, arXiv 2402.05369, for two completions; a and b are the log-ratios to the reference.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, implicit_rewards, logistic


def nca_pair(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.01,
) -> Tensor:
    """-log sigmoid(r_w) - log sigmoid(-r_w) / 2 - log sigmoid(-r_l) / 2, [B] nats, r the implicit rewards.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 0.01 as in TRL's index of the paper.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> nca_pair(zero, zero, zero, zero)  # 2 log 2
    tensor([1.3863])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    chosen = implicit_rewards(policy_chosen_logps, reference_chosen_logps, beta)
    rejected = implicit_rewards(policy_rejected_logps, reference_rejected_logps, beta)
    return logistic(chosen) + 0.5 * logistic(-chosen) + 0.5 * logistic(-rejected)
