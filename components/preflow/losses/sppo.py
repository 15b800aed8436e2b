"""SPPO: the log-ratio of each completion is regressed on its win rate, so that the chosen goes up and the rejected down.

    sppo:       L = ((a - eta * (w_w - 1/2))^2 + (b - eta * (w_l - 1/2))^2) / 2
    sppo_pair:  L = (a - eta * (P - 1/2))^2 + (b - eta * (1/2 - P))^2
    sppo_hard:  L = (a - 1 / (2 beta))^2 + (b + 1 / (2 beta))^2,   beta = 1 / eta

Wu et al. 2024, arXiv 2405.00675, equations 4.6, 4.7 and 4.12; a and b are log-ratios to the policy of the round's start,
w win rates against its samples, P the probability that the chosen beats the rejected. `sppo` is the official code's
default and half of a sum of squares, `sppo_hard` is TRL's. Losses and gradients are in the hundreds: clip the gradient.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, log_ratios


def sppo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_win_rates: Tensor,
    rejected_win_rates: Tensor,
    *,
    eta: float = 1000.0,
) -> Tensor:
    """((a - eta * (w_w - 1/2))^2 + (b - eta * (w_l - 1/2))^2) / 2, [B] nats^2.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_win_rates, rejected_win_rates: [B] in [0, 1], against the K samples of the prompt.
        eta: > 0 nats; multiplies the reward, so 1 / eta is in units of DPO's beta. 1e3 in section 5.1.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> sppo(zero + 1, zero - 1, zero, zero, zero + 0.75, zero + 0.25, eta=4.0)  # both at their targets
    tensor([0.])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        chosen_win_rates=chosen_win_rates,
        rejected_win_rates=rejected_win_rates,
    )
    chosen = log_ratios(policy_chosen_logps, reference_chosen_logps) - eta * (chosen_win_rates - 0.5)
    rejected = log_ratios(policy_rejected_logps, reference_rejected_logps) - eta * (rejected_win_rates - 0.5)
    return 0.5 * (chosen.square() + rejected.square())


def sppo_pair(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    preferences: Tensor,
    *,
    eta: float = 1000.0,
) -> Tensor:
    """(a - eta * (P - 1/2))^2 + (b - eta * (1/2 - P))^2, [B] nats^2; twice the official code's `sppo_single`.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        preferences: [B] in [0, 1], P(chosen beats rejected).
        eta: > 0 nats; 1e3 in section 5.1.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> sppo_pair(zero, zero, zero, zero, zero + 1, eta=2.0)  # 1 + 1
    tensor([2.])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps, preferences=preferences
    )
    target = eta * (preferences - 0.5)
    chosen = log_ratios(policy_chosen_logps, reference_chosen_logps) - target
    rejected = log_ratios(policy_rejected_logps, reference_rejected_logps) + target
    return chosen.square() + rejected.square()


def sppo_hard(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 1e-3,
) -> Tensor:
    """(a - 1 / (2 beta))^2 + (b + 1 / (2 beta))^2, [B] nats^2: `sppo_pair` with P = 1 and eta = 1 / beta.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 1 / eta, so 1e-3 for the paper's eta of 1e3 (TRL's own default of 0.1 is 100 times that).

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> sppo_hard(zero, zero, zero, zero, beta=0.5)  # 1 + 1
    tensor([2.])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    chosen = log_ratios(policy_chosen_logps, reference_chosen_logps) - 1 / (2 * beta)
    rejected = log_ratios(policy_rejected_logps, reference_rejected_logps) + 1 / (2 * beta)
    return chosen.square() + rejected.square()
