"""IPO: the margin is pulled to a finite target, so that certain preferences do not pull the policy away for ever.

    L = (h - 1 / (2 tau))^2

Azar et al. 2023, arXiv 2310.12036, equation 17. The paper has one token per completion and does not say whether h is a
sum or a mean; TRL and HALOs take the mean per token (after asking the authors), the DPO authors' code the sum.
"""

from typing import Literal

from torch import Tensor

from preflow.losses.logps import check_same_shape, log_ratios


def ipo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_num_tokens: Tensor,
    rejected_num_tokens: Tensor,
    *,
    tau: float = 0.1,
    length_normalization: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """(a / |chosen| - b / |rejected| - 1 / (2 tau))^2, or with sums (a - b - 1 / (2 tau))^2; [B], a and b log-ratios.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_num_tokens, rejected_num_tokens: [B] tokens; `sum` ignores them.
        tau: > 0; 0.1 as in TRL. The target margin is 1 / (2 tau) nats, per token for `mean` and per completion for
            `sum`, so that a tau of one is no tau of the other.
        length_normalization: `mean` over tokens (TRL, HALOs) or `sum` (equation 17 read literally).

    >>> import torch
    >>> one = torch.ones(1)
    >>> ipo(-2 * one, -5 * one, -3 * one, -4 * one, 4 * one, 2 * one, tau=0.5)  # (1/4 + 1/2 - 1)^2
    tensor([0.0625])
    >>> ipo(-2 * one, -5 * one, -3 * one, -4 * one, one, one, tau=0.5, length_normalization="sum")  # (2 - 1)^2
    tensor([1.])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        chosen_num_tokens=chosen_num_tokens,
        rejected_num_tokens=rejected_num_tokens,
    )
    chosen = log_ratios(policy_chosen_logps, reference_chosen_logps)
    rejected = log_ratios(policy_rejected_logps, reference_rejected_logps)
    if length_normalization == "mean":
        chosen, rejected = chosen / chosen_num_tokens, rejected / rejected_num_tokens
    return (chosen - rejected - 1 / (2 * tau)).square()
