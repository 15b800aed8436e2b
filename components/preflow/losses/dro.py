"""DRO-V: direct reward optimisation from single scored completions, with a learned value of the prompt.

    delta = r - V - tau * h,   h = log(pi/ref)(completion)
    joint:     L = delta^2 / 2
    rescaled:  L = (r - sg[V] - tau * h)^2 / (2 tau)  +  (r - V - tau * sg[h])^2 / 2,   sg: without gradient

Richemond et al. 2024, arXiv 2405.19107, equation 4 (joint), and section 3.3: the policy's gradient is divided by tau,
the value's is not, so that both steps have one scale. (Algorithm 1 prints 1/2 where that gives tau / 2; see equation 8.)
V must depend on the prompt and come from a network of its own: the data are off-policy, a wrong V biases the policy.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, log_ratios


def dro(
    policy_completion_logps: Tensor,
    reference_completion_logps: Tensor,
    completion_values: Tensor,
    scores: Tensor,
    *,
    tau: float = 1.0,
    rescale: bool = True,
) -> Tensor:
    """The policy's and the value network's losses, summed, [B].

    Args:
        policy_completion_logps, reference_completion_logps: [B] nats, see `preflow.losses.logps`.
        completion_values: [B], V of the prompt, in units of the score; carries the value network's gradient.
        scores: [B], standardised over the data set once (mean 0, variance 1).
        tau: > 0; strength of the KL penalty in units of the score per nat, 1.0 in the paper.
        rescale: divide the policy's gradient by tau (section 3.3); without it the joint loss of equation 4.

    r = 1, V = 0.5, h = 1 with tau = 0.5: the residual is 0, and so is the loss

    >>> import torch
    >>> one = torch.ones(1)
    >>> dro(-2 * one, -3 * one, 0.5 * one, one, tau=0.5)
    tensor([0.])
    >>> dro(-2 * one, -2 * one, 0 * one, one, tau=0.5)  # delta = 1: 1 / (2 * 0.5) + 1 / 2
    tensor([1.5000])
    """
    if not rescale:
        residuals = dro_residuals(
            policy_completion_logps, reference_completion_logps, completion_values, scores, tau=tau
        )
        return 0.5 * residuals.square()
    arguments = policy_completion_logps, reference_completion_logps, completion_values, scores
    return dro_policy(*arguments, tau=tau) + dro_value(*arguments, tau=tau)


def dro_policy(
    policy_completion_logps: Tensor,
    reference_completion_logps: Tensor,
    completion_values: Tensor,
    scores: Tensor,
    *,
    tau: float = 1.0,
) -> Tensor:
    """(r - sg[V] - tau * h)^2 / (2 tau), [B]: its gradient in log pi is -delta. Args as in `dro`."""
    residuals = dro_residuals(
        policy_completion_logps, reference_completion_logps, completion_values.detach(), scores, tau=tau
    )
    return residuals.square() / (2 * tau)


def dro_value(
    policy_completion_logps: Tensor,
    reference_completion_logps: Tensor,
    completion_values: Tensor,
    scores: Tensor,
    *,
    tau: float = 1.0,
) -> Tensor:
    """(r - V - tau * sg[h])^2 / 2, [B]: its gradient in V is -delta. Args as in `dro`."""
    residuals = dro_residuals(
        policy_completion_logps.detach(), reference_completion_logps, completion_values, scores, tau=tau
    )
    return 0.5 * residuals.square()


def dro_residuals(
    policy_completion_logps: Tensor,
    reference_completion_logps: Tensor,
    completion_values: Tensor,
    scores: Tensor,
    *,
    tau: float = 1.0,
) -> Tensor:
    """delta = r - V - tau * h, [B], in units of the score. Args as in `dro`."""
    check_same_shape(
        policy_completion_logps=policy_completion_logps, completion_values=completion_values, scores=scores
    )
    return scores - completion_values - tau * log_ratios(policy_completion_logps, reference_completion_logps)
