"""DPO: a logistic loss on the difference of two log-ratios.

    L = -log sigmoid(beta * h),   h = log(pi/ref)(chosen) - log(pi/ref)(rejected)

Rafailov et al. 2023, arXiv 2305.18290, equation 7; with label smoothing the conservative DPO of Mitchell's note
(2023, equation 3). The same function as RSO's sigmoid-norm, whose beta the RSO paper calls gamma, and as DNO's
contrastive step (arXiv 2404.03715, equation 13), whose beta that paper calls eta.
"""

from torch import Tensor

from preflow.losses.logps import logistic, margin


def dpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """-(1 - e) * log sigmoid(beta * h) - e * log sigmoid(-beta * h), [B] nats, with e = label_smoothing.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; typically 0.01 to 0.5. As beta goes to 0 the reference is ignored. 0.1 as in appendix B.
        label_smoothing: in [0, 0.5): the probability that a label is flipped. The loss then has a minimum at
            beta * h = log((1 - e) / e); plain DPO has none.

    Where policy and reference agree, h = 0 and the loss is log 2 for every e:

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> dpo(zero, zero, zero, zero)
    tensor([0.6931])

    h = (-2 + 3) - (-5 + 4) = 2, so with beta = 0.5: log(1 + exp(-1)) = 0.3133

    >>> dpo(zero - 2, zero - 5, zero - 3, zero - 4, beta=0.5)
    tensor([0.3133])
    """
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return logistic(beta * h, label_smoothing)


def robust_dpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.1,
) -> Tensor:
    """(-(1 - e) * log sigmoid(beta * h) + e * log sigmoid(-beta * h)) / (1 - 2e), [B] nats, with e = label_smoothing.

    In expectation over labels that flip with probability e it is DPO's loss on the true labels, so it may be negative.
    Not the conservative loss of `dpo`, whose second term has the other sign.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 0.1 as in the paper's experiments.
        label_smoothing: in [0, 0.5): the probability that a label is flipped; 0.1 as in the paper's experiments.

    Chowdhury et al. 2024, arXiv 2403.00409 (rDPO).

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> robust_dpo(zero, zero, zero, zero)  # log 2 for every e
    tensor([0.6931])
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 <= label_smoothing < 0.5")
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    right, wrong = logistic(beta * h), logistic(-beta * h)
    return ((1 - label_smoothing) * right - label_smoothing * wrong) / (1 - 2 * label_smoothing)
