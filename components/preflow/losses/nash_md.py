"""Nash-MD: policy gradient on the probability of beating a mixture of policy and reference, with a KL penalty.

    y ~ pi, y' ~ pi^(1 - m) * ref^m,   gradient of  -(P(y beats y') - 1/2) * log pi(y) + beta * KL(pi || ref)

Munos et al. 2023, arXiv 2312.00886. Both surrogates have the first part; they differ in the KL's: the sequence's
log-ratio times the log-prob of every token (REINFORCE, unbiased), or each token's own log-ratio times its own log-prob
(TRL up to 1.10).
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, log_ratios


def nash_md(
    policy_completion_logps: Tensor, reference_completion_logps: Tensor, preferences: Tensor, *, beta: float = 0.1
) -> Tensor:
    """(beta * sg[log(pi/ref)] - (P - 1/2)) * log pi, [B]; a surrogate: its gradient is what counts.

    Args:
        policy_completion_logps, reference_completion_logps: [B] nats, see `preflow.losses.logps`, of samples of the
            policy.
        preferences: [B] in [0, 1], P(the completion beats the mixture's).
        beta: >= 0; 0.1 as in TRL.

    >>> import torch
    >>> nash_md(torch.tensor([-3.0]), torch.tensor([-2.5]), torch.tensor([0.5]))  # 0.1 * -0.5 * -3
    tensor([0.1500])
    """
    check_same_shape(policy_completion_logps=policy_completion_logps, preferences=preferences)
    penalty = beta * log_ratios(policy_completion_logps, reference_completion_logps).detach()
    return (penalty - (preferences - 0.5)) * policy_completion_logps


def nash_md_tokens(
    policy_token_logps: Tensor, reference_token_logps: Tensor, preferences: Tensor, *, beta: float = 0.1
) -> Tensor:
    """sum over tokens of (beta * sg[log(pi/ref)(token)] - (P - 1/2)) * log pi(token), [B]: TRL's surrogate.

    Args:
        policy_token_logps, reference_token_logps: [B, T] nats, 0 at padding.
        preferences: [B] in [0, 1].
        beta: >= 0.

    >>> import torch
    >>> nash_md_tokens(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -1.0]]), torch.tensor([0.5]))
    tensor([0.1500])
    """
    if policy_token_logps.shape != reference_token_logps.shape or len(policy_token_logps) != len(preferences):
        raise ValueError(
            "a loss takes log-probs of one shape [B, T], found "
            f"{tuple(policy_token_logps.shape)}, {tuple(reference_token_logps.shape)}, {tuple(preferences.shape)}"
        )
    penalty = beta * (policy_token_logps - reference_token_logps).detach()
    return ((penalty - (preferences - 0.5)[:, None]) * policy_token_logps).sum(1)
