"""DiscoPOP: a mixture of the logistic and the exponential loss, found by a language model.

    x = beta * h,   m = sigmoid(x / tau),   L = -log sigmoid(x) * (1 - m) + exp(-x) * m

Lu et al. 2024, arXiv 2406.08414: the log-ratio modulated loss.
"""

from torch import Tensor

from preflow.losses.logps import bounded_exp, logistic, margin


def discopop(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.05,
    tau: float = 0.05,
) -> Tensor:
    """-log sigmoid(x) * (1 - m) + exp(-x) * m, [B].

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 0.05 as in TRL's index of the paper.
        tau: in (0, 1]: the width of the change from one loss to the other, 0.05 in the paper. Above 1 the
            exponential half grows without bound for badly ordered pairs.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> discopop(zero, zero, zero, zero)  # (log 2 + 1) / 2
    tensor([0.8466])
    """
    x = beta * margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    # exp(-x) * sigmoid(x / tau) as one exponential: for x of -100 the first factor alone is infinite in float32.
    exponential = bounded_exp(-x - logistic(x / tau))
    return logistic(x) * (-x / tau).sigmoid() + exponential
