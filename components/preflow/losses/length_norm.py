"""Length-normalised DPO: the log-ratios are means per token. TRL calls it
`sigmoid_norm`; RSO's sigmoid-norm is another loss, without lengths.

    L = -log sigmoid(beta * (a / |chosen| - b / |rejected|))

Lambert et al. 2024, arXiv 2411.15124 (Tulu 3).
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, log_ratios, logistic


def sigmoid_norm_length(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_num_tokens: Tensor,
    rejected_num_tokens: Tensor,
    *,
    beta: float = 5.0,
) -> Tensor:
    """-log sigmoid(beta * (a / |chosen| - b / |rejected|)), [B] nats, a and b the log-ratios.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        chosen_num_tokens, rejected_num_tokens: [B] tokens.
        beta: > 0; 5 as in Tulu 3. Per token, so far larger than DPO's.

    >>> import torch
    >>> one = torch.ones(1)
    >>> sigmoid_norm_length(-2 * one, -5 * one, -3 * one, -4 * one, 4 * one, 4 * one, beta=2.0)  # 2 * (1/4 + 1/4) = 1
    tensor([0.3133])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        chosen_num_tokens=chosen_num_tokens,
        rejected_num_tokens=rejected_num_tokens,
    )
    chosen = log_ratios(policy_chosen_logps, reference_chosen_logps) / chosen_num_tokens
    return logistic(beta * (chosen - log_ratios(policy_rejected_logps, reference_rejected_logps) / rejected_num_tokens))
