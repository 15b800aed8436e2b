"""BCO: a binary classifier of completions, whose logit is the implicit reward above a running mean.

    L = -log sigmoid(r_w - delta) - log sigmoid(-(r_l - delta)),   r = beta * log(pi/ref), delta without gradient

Jung et al. 2024, arXiv 2404.04656. The paper's delta is half the sum of the mean rewards of both classes; TRL's trainer
takes the running mean of all rewards. With delta = 0 it is what TRL's `bco_pair` computes since version 0.29.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from preflow.losses.coupled import Coupled
from preflow.losses.logps import check_same_shape, implicit_rewards, logistic


def bco_pair(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    state: Mapping[str, float],
    *,
    beta: float = 0.01,
    shift: Literal["running_mean", "class_means"] = "running_mean",
) -> Coupled:
    """The losses [B] at the batch's shift delta; the batch enters the running mean before it is used.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        state: `reward_mean` and `reward_count` of all rewards from before this batch; empty at the first.
        beta: > 0; 0.01 as in TRL's index of the paper.
        shift: `running_mean` of all rewards (TRL's BCO trainer), or half the sum of the batch's `class_means` (paper).

    >>> zero = torch.zeros(2)
    >>> found = bco_pair(zero + 2, zero, zero, zero, {}, beta=1.0)  # rewards 2 and 0, delta 1
    >>> found.losses, found.state
    (tensor([0.6265, 0.6265]), {'reward_mean': 1.0, 'reward_count': 4.0})
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    chosen = implicit_rewards(policy_chosen_logps, reference_chosen_logps, beta)
    rejected = implicit_rewards(policy_rejected_logps, reference_rejected_logps, beta)
    new = running_mean(state, torch.cat([chosen, rejected]))
    delta = new["reward_mean"] if shift == "running_mean" else class_means(chosen, rejected)
    return Coupled(bco_at(chosen, rejected, delta), state=new, metrics={"delta": delta})


def bco_at(chosen: Tensor, rejected: Tensor, delta: float) -> Tensor:
    """-log sigmoid(r_w - delta) - log sigmoid(delta - r_l), [B] nats, from implicit rewards [B] and a given shift.

    >>> bco_at(torch.tensor([1.0]), torch.tensor([1.0]), 1.0)  # 2 log 2
    tensor([1.3863])
    """
    return logistic(chosen - delta) + logistic(delta - rejected)


def running_mean(state: Mapping[str, float], rewards: Tensor) -> dict[str, float]:
    """The mean of all rewards so far, each counted once: `reward_mean` and `reward_count` after a batch of rewards.

    >>> running_mean({"reward_mean": 1.0, "reward_count": 2.0}, torch.tensor([4.0]))
    {'reward_mean': 2.0, 'reward_count': 3.0}
    """
    count, mean = state.get("reward_count", 0.0), state.get("reward_mean", 0.0)
    total = count + len(rewards)
    new = mean + (rewards.detach().double().mean().item() - mean) * len(rewards) / total
    return {"reward_mean": new, "reward_count": total}


def class_means(chosen: Tensor, rejected: Tensor) -> float:
    """Half the sum of the mean rewards of both classes.

    >>> class_means(torch.tensor([3.0]), torch.tensor([0.0, 1.0]))
    1.75
    """
    return 0.5 * (chosen.detach().double().mean().item() + rejected.detach().double().mean().item())
