"""TDPO: DPO with the token-wise forward KL of both completions in the margin.

    u = beta * h,   D(y) = sum over tokens t of KL(reference(. | prefix_t) || policy(. | prefix_t))
    TDPO1:  L = -log sigmoid(u - beta * (D(rejected) - D(chosen)))
    TDPO2:  L = -log sigmoid(u - alpha * beta * (D(rejected) - stop_gradient(D(chosen))))

Zeng et al. 2024, arXiv 2404.11999, and the official code. The KL is forward (reference first), summed over the tokens of the
completion itself, over the whole vocabulary.
"""

from typing import Literal

from torch import Tensor

from preflow.losses.logps import check_same_shape, logistic, margin


def tdpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_kls: Tensor,
    rejected_kls: Tensor,
    *,
    beta: float = 0.1,
    alpha: float = 0.5,
    variant: Literal[1, 2] = 2,
) -> Tensor:
    """-log sigmoid(beta * (h - k * (D(rejected) - D(chosen)))), [B] nats, with k = 1 or alpha.

    Variant 1 rewards divergence on the chosen completion; variant 2 stops that gradient.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_kls, rejected_kls: [B] nats, >= 0.
        beta: > 0; 0.1 as in the official configuration.
        alpha: weight of the KL difference in variant 2 (0.5 in the official configuration; 0 is DPO); variant 1
            ignores it.
        variant: 1 or 2. 2 is the better one in the paper's table 1; the official configuration file says 1.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> sides = zero - 2, zero - 5, zero - 3, zero - 4  # h = 2
    >>> tdpo(*sides, zero + 1, zero + 3, beta=0.5)  # 0.5 * (2 - 0.5 * 2) = 0.5
    tensor([0.4741])
    >>> tdpo(*sides, zero + 1, zero + 3, beta=0.5, variant=1)  # 0.5 * (2 - 2) = 0
    tensor([0.6931])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, chosen_kls=chosen_kls, rejected_kls=rejected_kls)
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    if variant == 1:
        return logistic(beta * (h - (rejected_kls - chosen_kls)))
    return logistic(beta * (h - alpha * (rejected_kls - chosen_kls.detach())))
