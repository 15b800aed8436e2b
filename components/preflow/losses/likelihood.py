"""Negative log-likelihood of targets: supervised fine-tuning, and the NLL term of CPO, SLiC and others."""

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
