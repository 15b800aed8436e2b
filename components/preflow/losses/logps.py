"""What all losses share: the legend of their arguments, the check of their shapes, implicit rewards.

Legend
    `<model>_<role>_logps`      [B] nats: log p(completion | prompt), summed over its tokens, end-of-turn token included;
                                model is policy or reference, role is chosen, rejected, target, ...
    `<role>_num_tokens`         [B] tokens of the completion
    B                           examples of the whole optimizer batch

A loss returns [B] nats, one number per example: no reduction, no logging, no configuration object.
"""

import torch
from torch import Tensor


def check_same_shape(**logps: Tensor) -> None:
    """Silent broadcasting is the classic mistake in a loss. Raises ValueError naming the shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in logps.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"a loss takes log-probs of one shape [B], found {shapes}")


def margin(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
) -> Tensor:
    """h = (log pi - log ref)(chosen) - (log pi - log ref)(rejected), [B] nats.

    >>> one = torch.tensor([-2.0]), torch.tensor([-5.0]), torch.tensor([-3.0]), torch.tensor([-4.0])
    >>> margin(*one)  # (-2 + 3) - (-5 + 4)
    tensor([2.])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        reference_chosen_logps=reference_chosen_logps,
        reference_rejected_logps=reference_rejected_logps,
    )
    return (policy_chosen_logps - reference_chosen_logps) - (policy_rejected_logps - reference_rejected_logps)


def implicit_rewards(policy_logps: Tensor, reference_logps: Tensor, beta: float) -> Tensor:
    """beta * log(pi/ref), [B]: the reward whose KL-regularised optimum the policy is (DPO, equation 5, up to a constant)."""
    check_same_shape(policy_logps=policy_logps, reference_logps=reference_logps)
    return beta * (policy_logps - reference_logps)


TIE_NATS = 1e-4  # float32 log-probs of the same sequence differ by as much between two ways of batching it


def accuracy(margins: Tensor) -> Tensor:
    """1 where the margin [B] (nats) is positive, 0 where it is negative, one half for a tie."""
    return torch.where(margins.abs() <= TIE_NATS, 0.5, (margins > 0).to(margins.dtype))
