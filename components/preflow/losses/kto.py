"""KTO: single completions, each desirable or not, against a reference point; no pairs.

    r = log(pi/ref)(completion),   z0 = max(0, mean over the batch of log(pi/ref)(mismatched)), without gradient
    desirable:    L = w_D * sigmoid(-beta * (r - z0))
    undesirable:  L = w_U * sigmoid(beta * (r - z0))

Ethayarajh et al. 2024, arXiv 2402.01306, equation 7 of version 1 (equation 8 of the current one, the same function).
"Mismatched" is a prompt with another row's completion: its mean log-ratio estimates KL(policy || reference), with a bias
on purpose.
"""

import torch
from torch import Tensor

from preflow.losses.coupled import Coupled
from preflow.losses.logps import check_same_shape, log_ratios


def kto(
    policy_completion_logps: Tensor,
    reference_completion_logps: Tensor,
    desirable: Tensor,
    policy_mismatched_logps: Tensor,
    reference_mismatched_logps: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Coupled:
    """The losses [B] at the batch's own reference point.

    Args:
        policy_completion_logps, reference_completion_logps: [B] nats, see `preflow.losses.logps`.
        desirable: [B] bool.
        policy_mismatched_logps, reference_mismatched_logps: [M] nats, the mismatched sequences of the same batch; the
            loss takes no gradient from them.
        beta: > 0; 0.1, close to the best in most of the paper's settings.
        desirable_weight, undesirable_weight: > 0; the paper's lambda_D and lambda_U, see
            `preflow.selection.imbalance`.

    Metrics: `reference_point` (z0) and `mismatched_log_ratio`, the mean before it is cut at 0: once mismatched
    completions are less likely than under the reference, z0 says nothing more.

    >>> zero = torch.zeros(2)
    >>> found = kto(zero, zero, torch.tensor([True, False]), zero - 1.5, zero - 1.0)
    >>> found.losses, dict(found.metrics)
    (tensor([0.5000, 0.5000]), {'reference_point': 0.0, 'mismatched_log_ratio': -0.5})
    """
    mean = log_ratios(policy_mismatched_logps, reference_mismatched_logps).detach().mean()
    point = reference_point(policy_mismatched_logps, reference_mismatched_logps)
    losses = kto_at(
        policy_completion_logps,
        reference_completion_logps,
        desirable,
        point,
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
    )
    return Coupled(losses, metrics={"reference_point": point.item(), "mismatched_log_ratio": mean.item()})


def reference_point(policy_mismatched_logps: Tensor, reference_mismatched_logps: Tensor) -> Tensor:
    """z0 = max(0, mean log-ratio of the mismatched sequences), [] nats, without gradient.

    >>> reference_point(torch.tensor([-9.0, -8.0]), torch.tensor([-9.5, -7.75]))  # (0.5 - 0.25) / 2
    tensor(0.1250)
    """
    return log_ratios(policy_mismatched_logps, reference_mismatched_logps).detach().mean().relu()


def kto_at(
    policy_completion_logps: Tensor,
    reference_completion_logps: Tensor,
    desirable: Tensor,
    point: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """The losses [B] at a given reference point (nats); the arguments as in `kto`.

    >>> kto_at(torch.tensor([-2.0]), torch.tensor([-4.0]), torch.tensor([True]), torch.tensor(2.0), beta=3.0)
    tensor([0.5000])
    """
    check_same_shape(policy_completion_logps=policy_completion_logps, desirable=desirable)
    gain = beta * (log_ratios(policy_completion_logps, reference_completion_logps) - point)
    desired, undesired = desirable_weight * (-gain).sigmoid(), undesirable_weight * gain.sigmoid()
    return torch.where(desirable.bool(), desired, undesired)
