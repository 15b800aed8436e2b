"""Reward models: the Bradley-Terry loss of a scalar head, for pairs and for K ranked completions, and a pairwise ranker.

    L = -log sigmoid(s_w - s_l - margin) + center * (s_w + s_l)^2

Bradley-Terry shifts of the score cancel; the centring term (TRL's) holds them at 0. InstructGPT (arXiv 2203.02155,
equation 1) averages the pairs of one prompt's K completions as one example. The ranker is SLiC-HF's and RSO's
(arXiv 2305.10425, 2309.06657): the logit that the first of two completions wins.
"""

import torch
from torch import Tensor

from preflow.losses.logps import check_same_shape, logistic


def bradley_terry(chosen_rewards: Tensor, rejected_rewards: Tensor, *, center: float = 0.0) -> Tensor:
    """-log sigmoid(s_w - s_l) + center * (s_w + s_l)^2, [B] nats.

    Args:
        chosen_rewards, rejected_rewards: [B], the reward model's numbers (log-odds).
        center: >= 0; 0 as in the papers, 0.01 in TRL's examples.

    >>> bradley_terry(torch.tensor([1.5, 3.0]), torch.tensor([0.5, 3.0]))
    tensor([0.3133, 0.6931])
    """
    return bradley_terry_margin(chosen_rewards, rejected_rewards, torch.zeros_like(chosen_rewards), center=center)


def bradley_terry_margin(
    chosen_rewards: Tensor, rejected_rewards: Tensor, margins: Tensor, *, center: float = 0.0
) -> Tensor:
    """-log sigmoid(s_w - s_l - margin) + center * (s_w + s_l)^2, [B] nats.

    Args:
        chosen_rewards, rejected_rewards: [B], the reward model's numbers (log-odds).
        margins: [B] >= 0, how clear each label is (Llama 2, arXiv 2307.09288, equation 2).
        center: >= 0.

    >>> bradley_terry_margin(torch.tensor([1.5]), torch.tensor([0.5]), torch.tensor([1.0]))
    tensor([0.6931])
    """
    check_same_shape(chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards, margins=margins)
    losses = logistic(chosen_rewards - rejected_rewards - margins)
    return losses + center * (chosen_rewards + rejected_rewards).square() if center else losses


def bradley_terry_ranked(ranked_rewards: Tensor) -> Tensor:
    """The mean over all K (K - 1) / 2 pairs of K ranked completions, [B] nats: one prompt is one example.

    Args:
        ranked_rewards: [B, K], K >= 2, from the best completion to the worst.

    >>> bradley_terry_ranked(torch.tensor([[1.0, 1.0, 1.0]]))
    tensor([0.6931])
    """
    return ranked_pair_losses(ranked_rewards).mean(1)


def ranked_pair_losses(ranked_rewards: Tensor) -> Tensor:
    """-log sigmoid(s_i - s_j) of every i ranked above j, [B, K (K - 1) / 2] nats: (0, 1), (0, 2), ..., (1, 2), ...

    >>> ranked_pair_losses(torch.tensor([[2.0, 1.0, 0.0]]))
    tensor([[0.3133, 0.1269, 0.3133]])
    """
    if ranked_rewards.ndim != 2 or ranked_rewards.shape[1] < 2:
        raise ValueError(f"expected rewards [B, K] with K >= 2, found {tuple(ranked_rewards.shape)}")
    size = ranked_rewards.shape[1]
    better, worse = torch.triu_indices(size, size, offset=1, device=ranked_rewards.device)
    return logistic(ranked_rewards[:, better] - ranked_rewards[:, worse])


def ranking(comparison_rewards: Tensor, first_wins: Tensor) -> Tensor:
    """The cross-entropy of a pairwise ranker, [B] nats.

    Args:
        comparison_rewards: [B], the logit that the first completion of the comparison wins.
        first_wins: [B] bool, or a probability in [0, 1].

    Training examples are flipped at random with their labels, so that the ranker learns no side.

    >>> ranking(torch.tensor([1.0, 1.0]), torch.tensor([True, False]))
    tensor([0.3133, 1.3133])
    """
    check_same_shape(comparison_rewards=comparison_rewards, first_wins=first_wins)
    first = first_wins.to(comparison_rewards.dtype)
    return first * logistic(comparison_rewards) + (1 - first) * logistic(-comparison_rewards)
