"""NPO: negative preference optimization, for unlearning; gradient ascent whose pull ends where the example is forgotten.

    r = log(pi/ref)(forget),   L = -(2 / beta) * log sigmoid(-beta * r)

Zhang et al. 2024, arXiv 2404.05868, equation 3. Retain terms stand beside it: `preflow.losses.likelihood:nll` (NPO+RT) or
`preflow.losses.divergence:forward_kl` (NPO+KL), both with `token_mean`, as the official code reduces them.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, implicit_rewards, logistic


def npo(policy_forget_logps: Tensor, reference_forget_logps: Tensor, *, beta: float = 0.1) -> Tensor:
    """(2 / beta) * log(1 + (pi/ref)^beta), [B] nats; summed over tokens.

    Args:
        policy_forget_logps, reference_forget_logps: [B] nats, see `preflow.losses.logps`.
        beta: > 0; 0.1 as in the paper. As beta goes to 0 it is gradient ascent, up to a constant.

    >>> import torch
    >>> npo(torch.tensor([-5.0]), torch.tensor([-5.0]), beta=2.0)  # log 2
    tensor([0.6931])
    """
    return (2 / beta) * logistic(-implicit_rewards(policy_forget_logps, reference_forget_logps, beta))


def npo_weights(policy_forget_logps: Tensor, reference_forget_logps: Tensor, *, beta: float = 0.1) -> Tensor:
    """2 * sigmoid(beta * r), [B], between 0 and 2: the gradient of `npo` in units of gradient ascent's (section 3).

    >>> import torch
    >>> npo_weights(torch.tensor([-5.0, -500.0]), torch.tensor([-5.0, -5.0]), beta=1.0)
    tensor([1., 0.])
    """
    return 2 * implicit_rewards(policy_forget_logps, reference_forget_logps, beta).detach().sigmoid()


def gradient_ascent(policy_forget_logps: Tensor) -> Tensor:
    """log pi(forget), [B] nats: minimised without a bound. The baseline that NPO tempers.

    >>> import torch
    >>> gradient_ascent(torch.tensor([-2.0]))
    tensor([-2.])
    """
    check_same_shape(policy_forget_logps=policy_forget_logps)
    return policy_forget_logps
