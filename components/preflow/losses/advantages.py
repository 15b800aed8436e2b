"""Advantages for policy gradients: rewards shaped by the KL, GAE, and group baselines that need no value network.

Tokens stand in [B, T], completions at the left, `mask` true at their tokens; groups of completions of one prompt in [G, K].
"""

import torch
from torch import Tensor

from preflow.losses.logps import bounded_exp


def kl_estimates(policy_logps: Tensor, reference_logps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Estimators k1, k2, k3 of KL(policy || reference) at tokens that the policy sampled, shape of the log-probs, nats.

    With d = log(pi/ref): k1 = d (unbiased, of either sign), k2 = d^2 / 2 (biased, small variance), k3 = exp(-d) - 1 + d
    (unbiased, never negative).

    >>> [round(each.item(), 4) for each in kl_estimates(torch.tensor(-1.0), torch.tensor(-1.2))]
    [0.2, 0.02, 0.0187]
    """
    d = policy_logps - reference_logps
    # Near 0 exp(-d) - 1 loses its digits; expm1 keeps them. Far below 0 it is cut where float32 would overflow.
    return d, 0.5 * d.square(), torch.where(d > -1, torch.expm1(-d.clamp(min=-1)), bounded_exp(-d) - 1) + d


def shaped_rewards(
    sampler_logps: Tensor, reference_logps: Tensor, scores: Tensor, mask: Tensor, *, beta: float = 0.05
) -> Tensor:
    """-beta * log(sampler/ref) at every token, plus the completion's score at its last one; [B, T], 0 outside the mask.

    Ziegler et al. 2019, arXiv 1909.08593; InstructGPT, arXiv 2203.02155.

    Args:
        sampler_logps, reference_logps: [B, T] nats per token.
        scores: [B].
        mask: [B, T] bool; every row has at least one token.
        beta: >= 0, in units of the score per nat.

    >>> one = torch.ones(1, 2)
    >>> shaped_rewards(-one, -2 * one, torch.tensor([3.0]), one.bool(), beta=0.5)
    tensor([[-0.5000,  2.5000]])
    """
    rewards = torch.where(mask, -beta * (sampler_logps - reference_logps), 0.0)
    last = mask.sum(1) - 1
    return rewards.scatter_add(1, last[:, None], scores.to(rewards.dtype)[:, None])


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """(advantages, returns) [B, T], 0 outside the mask; the value after the last token is 0.

    delta_t = r_t + gamma * V_{t+1} - V_t,  A_t = delta_t + gamma * lam * A_{t+1},  returns = A + V.
    Schulman et al. 2015, arXiv 1506.02438, equation 16.

    Args:
        rewards, values: [B, T]; values of the states before each token.
        mask: [B, T] bool.
        gamma: in [0, 1]; 1: completions end, so nothing needs a discount.
        lam: in [0, 1]; 0.95 as in InstructGPT's line. 1 is the sum of rewards minus V, 0 the one-step error.

    >>> ones = torch.ones(1, 2)
    >>> generalized_advantages(torch.tensor([[0.0, 1.0]]), 0.5 * ones, ones.bool(), lam=1.0)
    (tensor([[0.5000, 0.5000]]), tensor([[1., 1.]]))
    """
    values, rewards = torch.where(mask, values, 0.0), torch.where(mask, rewards, 0.0)
    found = torch.zeros_like(values)
    later, next_value = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        delta = rewards[:, place] + gamma * next_value - values[:, place]
        later = delta + gamma * lam * later
        found[:, place] = later
        next_value = values[:, place]
    found = torch.where(mask, found, 0.0)
    return found, found + values


def whitened(advantages: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and (unbiased) variance 1 over the tokens of the mask, shape of the advantages; 0 outside of it.

    >>> whitened(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([[-0.7071,  0.7071,  0.0000]])
    """
    inside = advantages[mask]
    variance = inside.var() if len(inside) > 1 else torch.zeros_like(inside).sum()
    return torch.where(mask, (advantages - inside.mean()) * torch.rsqrt(variance + 1e-8), 0.0)


def leave_one_out(rewards: Tensor) -> Tensor:
    """RLOO: r_i minus the mean of the others of its group, [G, K], K >= 2; sums to 0 in every group.

    Ahmadian et al. 2024, arXiv 2402.14740.

    >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    size = rewards.shape[-1]
    if size < 2:
        raise ValueError(f"leave-one-out needs at least 2 completions per prompt, found {size}")
    return size / (size - 1) * (rewards - rewards.mean(-1, keepdim=True))


def group_normalised(rewards: Tensor, *, epsilon: float = 1e-4, correction: int = 1) -> Tensor:
    """GRPO: (r - mean) / (std + epsilon) in every group, [G, K]; 0 where all rewards of a group are equal.

    Shao et al. 2024, arXiv 2402.03300; epsilon and the sample deviation (correction 1) as in TRL 1.16.

    >>> group_normalised(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), epsilon=0.0).nan_to_num()
    tensor([[-0.7071,  0.7071],
            [ 0.0000,  0.0000]])
    """
    deviation = rewards.std(-1, keepdim=True, correction=correction)
    return (rewards - rewards.mean(-1, keepdim=True)) / (deviation + epsilon)
