"""Policy gradients: REINFORCE, and PPO's clipped ratio, per sequence (RLOO, SPO) or per token (PPO, GRPO).

    L = -A * log pi                              REINFORCE, for samples of the policy itself
    L = -min(q * A, clip(q, 1 - e, 1 + e) * A)   q = pi / sampler, A the advantage, without gradient

Schulman et al. 2017, arXiv 1707.06347, equation 7; with a ratio per sequence Ahmadian et al. 2024, arXiv 2402.14740.
Advantages come from `preflow.losses.advantages`.
"""

import torch
from torch import Tensor

from preflow.losses.logps import bounded_exp, check_same_shape


def reinforce(policy_completion_logps: Tensor, advantages: Tensor) -> Tensor:
    """-A * log pi, [B]; a surrogate: its gradient is what counts.

    Args:
        policy_completion_logps: [B] nats, see `preflow.losses.logps`, of samples of this very policy.
        advantages: [B].

    >>> reinforce(torch.tensor([-10.0]), torch.tensor([0.5]))
    tensor([5.])
    """
    check_same_shape(policy_completion_logps=policy_completion_logps, advantages=advantages)
    return -advantages.detach() * policy_completion_logps


def ppo_seq(
    policy_completion_logps: Tensor, sampler_completion_logps: Tensor, advantages: Tensor, *, epsilon: float = 0.2
) -> Tensor:
    """-min(q * A, clip(q, 1 - epsilon, 1 + epsilon) * A), [B], with one ratio q per sequence.

    Args:
        policy_completion_logps, sampler_completion_logps: [B] nats, see `preflow.losses.logps`.
        advantages: [B].
        epsilon: in (0, 1); 0.2 as in TRL's RLOO and PPO's paper.

    >>> ppo_seq(torch.tensor([-9.5, -10.5]), torch.tensor([-10.0, -10.0]), torch.tensor([0.5, 0.5]))
    tensor([-0.6000, -0.3033])
    """
    check_same_shape(
        policy_completion_logps=policy_completion_logps,
        sampler_completion_logps=sampler_completion_logps,
        advantages=advantages,
    )
    return clipped_surrogate(policy_completion_logps, sampler_completion_logps, advantages, epsilon=epsilon)


def clipped_surrogate(
    policy_logps: Tensor, sampler_logps: Tensor, advantages: Tensor, *, epsilon: float = 0.2
) -> Tensor:
    """-min(q * A, clip(q) * A) element by element, of sequences [B] or tokens [B, T], shapes as the log-probs'.

    A ratio beyond the clip in the advantage's direction has no gradient; in the other direction it is never clipped.

    >>> clipped_surrogate(torch.tensor([-1.0]), torch.tensor([-2.0]), torch.tensor([-1.0]))  # e, unclipped
    tensor([2.7183])
    """
    if not policy_logps.shape == sampler_logps.shape == advantages.shape:
        raise ValueError(
            "policy gradients take numbers of one shape, found "
            f"{tuple(policy_logps.shape)}, {tuple(sampler_logps.shape)}, {tuple(advantages.shape)}"
        )
    advantages = advantages.detach()
    ratios = ratios_to_sampler(policy_logps, sampler_logps)
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - epsilon, 1 + epsilon) * advantages)


def ratios_to_sampler(policy_logps: Tensor, sampler_logps: Tensor) -> Tensor:
    """q = pi / sampler, shape of the log-probs; finite for every difference, see `bounded_exp`.

    >>> ratios_to_sampler(torch.tensor([-2.0]), torch.tensor([-2.0]))
    tensor([1.])
    """
    return bounded_exp(policy_logps - sampler_logps.detach())


def is_clipped(policy_logps: Tensor, sampler_logps: Tensor, advantages: Tensor, *, epsilon: float = 0.2) -> Tensor:
    """True where the clip decides and the gradient is 0, shape of the log-probs: its mean is the clip fraction.

    >>> is_clipped(torch.tensor([-1.0, -1.0]), torch.tensor([-2.0, -2.0]), torch.tensor([1.0, -1.0]))
    tensor([ True, False])
    """
    ratios = ratios_to_sampler(policy_logps, sampler_logps)
    return ((ratios > 1 + epsilon) & (advantages > 0)) | ((ratios < 1 - epsilon) & (advantages < 0))
