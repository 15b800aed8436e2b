"""RSO's losses: sigmoid-norm, hinge-norm and hinge. "norm" means normalised by the SFT policy, not by length.

Liu et al. 2024, arXiv 2309.06657, section 3.1. The paper's gamma is `beta` here, apart from the rejection sampler's
temperature (the paper's beta).
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, logistic, margin


def sigmoid_norm(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.05,
) -> Tensor:
    """-log sigmoid(beta * h), [B] nats; DPO's loss, on pairs that the rejection sampler made.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; the paper's gamma, 0.05 the best of 0.005, 0.05, 0.5.
    """
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return logistic(beta * h)


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


def hinge(policy_chosen_logps: Tensor, policy_rejected_logps: Tensor, *, beta: float = 0.05) -> Tensor:
    """max(0, 1 - beta * (log pi(chosen) - log pi(rejected))), [B]; no reference. The subgradient at the kink is 0.

    beta times the calibration loss of SLiC-HF (`preflow.losses.slic`) with delta = 1 / beta (equation 9).

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        beta: > 0; the paper's gamma, 0.05 the best of 0.005, 0.05, 0.5.

    >>> import torch
    >>> hinge(torch.tensor([-2.0]), torch.tensor([-5.0]), beta=0.25)  # 1 - 0.25 * 3
    tensor([0.2500])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    return (1 - beta * (policy_chosen_logps - policy_rejected_logps)).relu()
