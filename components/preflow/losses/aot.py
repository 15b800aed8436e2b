"""AOT: alignment via optimal transport; sorted rewards are compared rank by rank, instead of pair by pair.

    unpaired:  L = logistic(beta * (a_(i) - b_(i))),  a, b: log-ratios of chosen and rejected, each sorted over the batch
    paired:    L = logistic(beta * (g_(i) - g0_(i))), g, g0: log pi(chosen) - log pi(rejected) of policy and reference, sorted

Melnyk et al. 2024, arXiv 2406.05882: the chosen dominate the rejected stochastically where every rank has a positive
difference. Sorting makes the loss of an example depend on its batch; weights of examples have no meaning here.
"""

import torch
from torch import Tensor

from preflow.losses.coupled import Coupled
from preflow.losses.logps import check_same_shape, log_ratios, logistic, margin


def aot_unpaired(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.01,
    label_smoothing: float = 0.0,
) -> Coupled:
    """The loss of each rank, at the example whose chosen completion has that rank, [B] nats.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 0.01 as in TRL's index of the paper.
        label_smoothing: in [0, 0.5), as in `preflow.losses.dpo`.

    Chosen log-ratios 2 and 0 against rejected ones 0 and 2 have no difference rank by rank:

    >>> zero, up = torch.zeros(2), torch.tensor([2.0, 0.0])
    >>> aot_unpaired(up, up.flip(0), zero, zero).losses
    tensor([0.6931, 0.6931])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    chosen = log_ratios(policy_chosen_logps, reference_chosen_logps)
    rejected = log_ratios(policy_rejected_logps, reference_rejected_logps)
    return Coupled(_at_examples(rank_losses(chosen, rejected, beta, label_smoothing), chosen))


def aot_paired(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.01,
    label_smoothing: float = 0.0,
) -> Coupled:
    """The loss of each rank, at the example whose policy gap has that rank, [B] nats.

    Args as in `aot_unpaired`. The sum over a batch of the differences is that of the margins of DPO.

    >>> zero = torch.zeros(2)
    >>> aot_paired(zero + 2, zero, zero, zero, beta=0.5).losses
    tensor([0.3133, 0.3133])
    """
    margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)  # the shapes
    policy = policy_chosen_logps - policy_rejected_logps
    reference = reference_chosen_logps - reference_rejected_logps
    return Coupled(_at_examples(rank_losses(policy, reference, beta, label_smoothing), policy))


def rank_losses(first: Tensor, second: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """logistic(beta * (first_(i) - second_(i))), [B], from the lowest rank to the highest.

    >>> rank_losses(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 3.0]), 1.0)
    tensor([0.6931, 0.6931])
    """
    return logistic(beta * (first.sort().values - second.sort().values), label_smoothing)


def _at_examples(by_rank: Tensor, ranked: Tensor) -> Tensor:
    """The losses of the ranks, in the order of the examples that `ranked` [B] ranks."""
    ranks = torch.empty_like(ranked, dtype=torch.long)
    ranks[ranked.detach().argsort()] = torch.arange(len(ranked), device=ranked.device)
    return by_rank[ranks]
