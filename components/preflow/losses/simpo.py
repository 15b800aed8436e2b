"""SimPO: the mean log-prob per token is the reward, and the chosen one must win by a margin; no reference.

    L = -log sigmoid(beta * (log pi(chosen) / |chosen| - log pi(rejected) / |rejected|) - gamma)

Meng et al. 2024, arXiv 2405.14734. With an NLL term beside it: CPO-SimPO.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, logistic


def simpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    chosen_num_tokens: Tensor,
    rejected_num_tokens: Tensor,
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> Tensor:
    """-log sigmoid(beta * difference of mean log-probs - gamma), [B] nats.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        chosen_num_tokens, rejected_num_tokens: [B] tokens.
        beta: > 0; 2 to 10 in the paper, 2.0 its start.
        gamma: >= 0; gamma itself, not the official code's gamma / beta, of which the paper's start is 0.5.

    >>> import torch
    >>> simpo(torch.tensor([-2.0]), torch.tensor([-4.0]), torch.tensor([4.0]), torch.tensor([4.0]))  # 2 * 0.5 - 1 = 0
    tensor([0.6931])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        chosen_num_tokens=chosen_num_tokens,
        rejected_num_tokens=rejected_num_tokens,
    )
    means = policy_chosen_logps / chosen_num_tokens, policy_rejected_logps / rejected_num_tokens
    return logistic(beta * (means[0] - means[1]) - gamma)
