"""DPO-positive: a log-prob of the chosen one below the reference's is expensive.

    L = -log sigmoid(beta * (a - b - lam * max(0, -a))),   a = log(pi/ref)(chosen), b = log(pi/ref)(rejected)

Pal et al. 2024, arXiv 2402.13228 (Smaug), as in version 2: the penalty stands inside the sigmoid and inside
beta; version 1 set its brackets elsewhere.
"""

from torch import Tensor

from preflow.losses.logps import log_ratios, logistic, margin


def dpop(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.3,
    lam: float = 50.0,
) -> Tensor:
    """-log sigmoid(beta * (h - lam * max(0, -a))), [B] nats.

    Before the first step every a is 0, at the kink: the subgradient is 0 there, so that the first step is DPO's.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 0.3 as in section 5.
        lam: >= 0; 50 as in section 5 (5 to 500 are alike, says the author). The gradient of a chosen one that fell
            below its reference is 1 + lam times DPO's. 0 is DPO.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> dpop(zero - 4, zero - 5, zero - 3, zero - 4, beta=0.5, lam=2.0)  # h = 0, penalty 1: log(1 + exp(1))
    tensor([1.3133])
    """
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    lost = (-log_ratios(policy_chosen_logps, reference_chosen_logps)).relu()
    return logistic(beta * (h - lam * lost))
