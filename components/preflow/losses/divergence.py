"""Forward KL to the reference as a term of its own: it keeps what a retain stream says (NPO+KL)."""

from torch import Tensor

from preflow.losses.logps import check_same_shape


def forward_kl(target_kls: Tensor) -> Tensor:
    """KL(reference || policy) along the target, [B] nats, summed over tokens. Reduced by `token_mean`: per answer token.

    Args:
        target_kls: [B] nats, see `preflow.losses.logps`; the gradient flows to the policy.

    Zhang et al. 2024, arXiv 2404.05868: the direction of the official code (the paper's text has the other one), over
    answer tokens (the official code averages over prompt and padding as well, so its scale depends on the padding).

    >>> import torch
    >>> forward_kl(torch.tensor([0.25, 1.5]))
    tensor([0.2500, 1.5000])
    """
    check_same_shape(target_kls=target_kls)
    return target_kls
