"""APO: anchored preference optimization; the policy is told where each completion should go, not only how they differ.

    zero:  L = sigmoid(-beta * a) + sigmoid(beta * b)            the chosen one up, the rejected one down
    down:  L = sigmoid(beta * a) + sigmoid(-beta * (a - b))      both down, the rejected one further

D'Oosterlinck et al. 2024, arXiv 2408.06266; a and b are the log-ratios to the reference. Use `apo_down` where
the policy is better than the chosen completions.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, implicit_rewards


def apo_zero(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
) -> Tensor:
    """sigmoid(-beta * a) + sigmoid(beta * b), [B], between 0 and 2.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 0.1 as in TRL's index of the paper.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> apo_zero(zero, zero, zero, zero)
    tensor([1.])
    """
    chosen, rejected = _rewards(
        policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta
    )
    return (-chosen).sigmoid() + rejected.sigmoid()


def apo_down(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
) -> Tensor:
    """sigmoid(beta * a) + sigmoid(-beta * (a - b)), [B], between 0 and 2.

    Args as in `apo_zero`.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> apo_down(zero, zero, zero, zero)
    tensor([1.])
    """
    chosen, rejected = _rewards(
        policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta
    )
    return chosen.sigmoid() + (rejected - chosen).sigmoid()


def _rewards(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    beta: float,
) -> tuple[Tensor, Tensor]:
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    chosen = implicit_rewards(policy_chosen_logps, reference_chosen_logps, beta)
    return chosen, implicit_rewards(policy_rejected_logps, reference_rejected_logps, beta)
