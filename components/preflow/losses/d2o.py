"""D2O: distributional dispreference; away from a human-labelled bad completion, held by K samples of the model itself.

    z = (beta / K) * sum over k of log(pi/ref-)(self_sample_k)  -  alpha * log(pi/ref+)(rejected)
    L = -log sigmoid(z)

Duan et al. 2024, arXiv 2403.03419, equation 3 of version 2. ref- (a more harmful model) normalises the samples, ref+ (a
more helpful one) the rejected completion; the paper's experiments take the initial model for both.
"""

import torch
from torch import Tensor

from preflow.losses.logps import check_same_shape, log_ratios, logistic


def d2o(
    policy_self_sample_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_self_sample_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 0.1,
) -> Tensor:
    """-log sigmoid(z), [B] nats. With K = 1 and alpha = beta it is DPO with the sample as the chosen one.

    Args:
        policy_self_sample_logps, reference_self_sample_logps: [B, K] nats, see `preflow.losses.logps`.
        policy_rejected_logps, reference_rejected_logps: [B] nats.
        alpha: > 0; weight of the rejected completion, 0.1 as in the paper's experiments.
        beta: > 0; weight of the self-samples, 0.1 as in the paper's experiments (with K = 11).

    >>> zero = torch.zeros(1)
    >>> d2o(torch.tensor([[1.0, 3.0]]), zero, torch.zeros(1, 2), zero, beta=0.5)  # z = 0.5 * (1 + 3) / 2
    tensor([0.3133])
    """
    return d2o_masked(
        policy_self_sample_logps,
        policy_rejected_logps,
        reference_self_sample_logps,
        reference_rejected_logps,
        torch.ones_like(reference_self_sample_logps, dtype=torch.bool),
        alpha=alpha,
        beta=beta,
    )


def d2o_masked(
    policy_self_sample_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_self_sample_logps: Tensor,
    reference_rejected_logps: Tensor,
    self_sample_mask: Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 0.1,
) -> Tensor:
    """As `d2o`, where only samples that `self_sample_mask` [B, K] marks are there; K is their number, per example.

    The entries of absent samples may hold anything. An example without any sample has the rejected term alone.

    >>> zero, mask = torch.zeros(1), torch.tensor([[True, False]])
    >>> d2o_masked(torch.tensor([[2.0, 9.0]]), zero, torch.zeros(1, 2), zero, mask, beta=0.5)
    tensor([0.3133])
    """
    shapes = {tuple(each.shape) for each in (policy_self_sample_logps, reference_self_sample_logps, self_sample_mask)}
    if (
        len(shapes) > 1
        or policy_self_sample_logps.ndim != 2
        or len(policy_self_sample_logps) != len(policy_rejected_logps)
    ):
        raise ValueError(
            "a loss takes log-probs of one shape: self-samples [B, K] and rejected [B], "
            f"found {sorted(shapes)} and {tuple(policy_rejected_logps.shape)}"
        )
    check_same_shape(policy_rejected_logps=policy_rejected_logps, reference_rejected_logps=reference_rejected_logps)
    present = self_sample_mask.bool()
    ratios = torch.where(present, policy_self_sample_logps - reference_self_sample_logps, 0.0)
    own = ratios.sum(1) / present.sum(1).clamp(min=1)
    return logistic(beta * own - alpha * log_ratios(policy_rejected_logps, reference_rejected_logps))
