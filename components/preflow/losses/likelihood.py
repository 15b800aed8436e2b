"""Negative log-likelihood of targets: supervised fine-tuning, and the NLL term of CPO, SLiC, NPO+RT and others."""

from torch import Tensor

from preflow.losses.logps import check_same_shape


def nll(policy_target_logps: Tensor) -> Tensor:
    """-log pi(target), [B] nats, summed over tokens. Reduced by `token_mean` it is the usual cross-entropy.

    >>> import torch
    >>> nll(torch.tensor([-1.5, -2.0]))
    tensor([1.5000, 2.0000])
    """
    check_same_shape(policy_target_logps=policy_target_logps)
    return -policy_target_logps


def nll_per_token(policy_target_logps: Tensor, target_num_tokens: Tensor) -> Tensor:
    """-log pi(target) / |target|, [B] nats per token: long and short targets weigh the same.

    The NLL term of Iterative RPO (Pang et al. 2024, arXiv 2404.19733).

    >>> import torch
    >>> nll_per_token(torch.tensor([-1.5, -2.0]), torch.tensor([3.0, 8.0]))
    tensor([0.5000, 0.2500])
    """
    check_same_shape(policy_target_logps=policy_target_logps, target_num_tokens=target_num_tokens)
    return -policy_target_logps / target_num_tokens
