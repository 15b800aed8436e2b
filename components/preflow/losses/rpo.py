"""RPO: DPO plus the NLL of the chosen completion, which keeps its likelihood from falling.

    L = DPO + alpha * NLL(chosen)

Liu et al. 2024, arXiv 2405.16436 (NLL per token of the batch, alpha 0.005), and Pang et al. 2024, arXiv 2404.19733
(Iterative RPO: NLL per token of the completion, alpha 1). As two terms: `preflow.losses.dpo:dpo` and
`preflow.losses.likelihood`.
"""

from typing import Literal

from torch import Tensor

from preflow.losses.coupled import Coupled
from preflow.losses.dpo import dpo
from preflow.losses.likelihood import nll, nll_per_token
from preflow.losses.logps import check_same_shape


def rpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_num_tokens: Tensor,
    *,
    beta: float = 0.01,
    alpha: float = 0.005,
    nll_reduction: Literal["token_mean", "seq_mean", "sum"] = "token_mean",
) -> Coupled:
    """DPO + alpha * NLL(chosen), [B] nats.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_num_tokens: [B] tokens.
        beta: > 0; 0.01 as in TRL's index of the paper.
        alpha: >= 0; 0.005 as in TRL's index of the paper.
        nll_reduction: `token_mean` over the chosen tokens of the batch (one number, the same for every example, so
            coupled), `seq_mean` over the tokens of each completion, or the `sum` over them.

    >>> import torch
    >>> zero, tokens = torch.zeros(2), torch.tensor([1.0, 3.0])
    >>> rpo(zero - 2, zero, zero - 2, zero, tokens, alpha=1.0).losses - torch.tensor(2.0).log()  # 4 nats, 4 tokens
    tensor([1., 1.])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, chosen_num_tokens=chosen_num_tokens)
    preference = dpo(
        policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta=beta
    )
    if nll_reduction == "token_mean":
        return Coupled(preference + alpha * nll(policy_chosen_logps).sum() / chosen_num_tokens.sum())
    if nll_reduction == "seq_mean":
        return Coupled(preference + alpha * nll_per_token(policy_chosen_logps, chosen_num_tokens))
    return Coupled(preference + alpha * nll(policy_chosen_logps))
