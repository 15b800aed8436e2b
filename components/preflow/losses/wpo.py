"""WPO: DPO, where pairs that the policy would hardly write itself count less.

    w = min(1, exp(u_w + u_l)),   u = mean over tokens of [log p(token) - log sum over the vocabulary of p^2]
    L = w * DPO, w without gradient

Zhou et al. 2024, arXiv 2406.11827: the off-policy pairs are weighted as if they were on-policy; a token as likely as the
average one has u = 0. The official code cuts the weight at 1, TRL 1.16 does not.
"""

import torch
from torch import Tensor

from preflow.losses.dpo import dpo
from preflow.losses.logps import bounded_exp, check_same_shape


def wpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_alignments: Tensor,
    rejected_alignments: Tensor,
    *,
    beta: float = 0.01,
    clamp: bool = True,
) -> Tensor:
    """w * DPO, [B] nats.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_alignments, rejected_alignments: [B] nats per token, the u of each completion under the current policy
            (`token_alignments`, averaged over its tokens); no gradient is taken from them.
        beta: > 0; 0.01 as in TRL's index of the paper.
        clamp: cut the weight at 1, as the official code does.

    >>> zero = torch.zeros(1)
    >>> wpo(zero, zero, zero, zero, zero - 0.5, zero - 0.25)  # log 2 * exp(-0.75)
    tensor([0.3274])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps,
        chosen_alignments=chosen_alignments,
        rejected_alignments=rejected_alignments,
    )
    losses = dpo(
        policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta=beta
    )
    weights = bounded_exp((chosen_alignments + rejected_alignments).detach())
    return losses * (weights.clamp(max=1) if clamp else weights)


def token_alignments(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p(token) - log sum_v p(v)^2, [N] nats, from logits [N, V] and token ids [N].

    >>> token_alignments(torch.zeros(1, 8), torch.tensor([3])).abs()  # a uniform law: every token is an average one
    tensor([0.])
    """
    logps = logits.log_softmax(-1)
    return logps.gather(-1, tokens[:, None])[:, 0] - torch.logsumexp(2 * logps, -1)
