"""What all losses share: the legend of their arguments, the check of their shapes, log-ratios, implicit rewards.

Legend
    `<model>_<role>_logps`      [B] nats: log p(completion | prompt), summed over its tokens, end-of-turn token included;
                                model is policy or reference, role is chosen, rejected, target, ...; [B, K] for a role
                                with K sequences per example
    `sampler_<role>_logps`      [B] nats: under the policy that sampled the sequence
    `<role>_num_tokens`         [B] tokens of the completion
    `<role>_kls`                [B] nats: sum over completion tokens of KL(reference || policy); carries a gradient
    `<role>_values`             [B] a value network's number for the prompt; carries a gradient
    `<role>_rewards`            [B] a reward model's number for the sequence; carries a gradient
    `desirable`, `scores`, ...  [B] columns of the example
    B                           examples of the whole optimizer batch

A loss returns [B], one number per example: no reduction, no logging, no configuration object. Where the loss of an
example depends on the others it returns a `preflow.losses.coupled.Coupled`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def check_same_shape(**logps: Tensor) -> None:
    """Silent broadcasting is the classic mistake in a loss. Raises ValueError naming the shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in logps.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"a loss takes log-probs of one shape [B], found {shapes}")


def log_ratios(policy_logps: Tensor, reference_logps: Tensor) -> Tensor:
    """log(pi/ref), [B] nats.

    >>> log_ratios(torch.tensor([-2.0]), torch.tensor([-3.0]))
    tensor([1.])
    """
    check_same_shape(policy_logps=policy_logps, reference_logps=reference_logps)
    return policy_logps - reference_logps


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
    return beta * log_ratios(policy_logps, reference_logps)


def logistic(logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """-(1 - e) * log sigmoid(z) - e * log sigmoid(-z), [B] nats, with e = label_smoothing.

    `logsigmoid`, not torch's `softplus`: that one returns z itself above 20, which is 2e-9 off in value and slope.

    >>> logistic(torch.tensor([0.0, 1000.0, -1000.0])).tolist()  # log 2; finite on both ends
    [0.6931471824645996, -0.0, 1000.0]
    """
    if label_smoothing == 0:
        return -logsigmoid(logits)
    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)


def bounded_exp(exponents: Tensor) -> Tensor:
    """exp, whose argument is cut at 45 below the largest that the dtype can hold (43.7 in float32, 664.8 in float64).

    What is left, a factor of e^45, is room for coefficients, sums over a batch and the square in a gradient norm. Where
    the cut acts the gradient is 0: such an example waits until the others have moved the policy.

    >>> bounded_exp(torch.tensor([0.0, 1e6])).isfinite().all()
    tensor(True)
    """
    return exponents.clamp(max=math.log(torch.finfo(exponents.dtype).max) - 45).exp()


TIE_NATS = 1e-4  # float32 log-probs of the same sequence differ by as much between two ways of batching it


def accuracy(margins: Tensor) -> Tensor:
    """1 where the margin [B] (nats) is positive, 0 where it is negative, one half for a tie."""
    return torch.where(margins.abs() <= TIE_NATS, 0.5, (margins > 0).to(margins.dtype))
