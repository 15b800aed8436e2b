"""ORPO: the odds of the chosen completion against those of the rejected one; its NLL term is a term of its own.

    L = NLL(chosen)  -  lam * log sigmoid(log odds(chosen) - log odds(rejected)),
    odds = p / (1 - p),   p = exp(log pi / tokens), the geometric mean of the token probabilities

Hong et al. 2024, arXiv 2403.07691, section 4. The first term is `preflow.losses.likelihood:nll` with `token_mean`.
"""

import math

import torch
from torch import Tensor

from preflow.losses.logps import check_same_shape, logistic

CERTAIN = -1e-15  # nats: a log-prob above it counts as this one, so that its odds and their slope (1e15) are finite


def orpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    chosen_num_tokens: Tensor,
    rejected_num_tokens: Tensor,
    *,
    lam: float = 0.1,
) -> Tensor:
    """-lam * log sigmoid(log odds(chosen) - log odds(rejected)), [B] nats: the odds-ratio part; no reference.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        chosen_num_tokens, rejected_num_tokens: [B] tokens.
        lam: > 0; weight of this part against the NLL, 0.1 as in the paper (TRL calls it beta).

    Mean log-probs of log 0.5 and log 0.2 are odds of 1 and 1/4:

    >>> logps = torch.tensor([0.25]).log(), torch.tensor([0.2]).log()
    >>> orpo(*logps, torch.tensor([2.0]), torch.tensor([1.0]), lam=1.0)  # log(1 + 1/4)
    tensor([0.2231])
    """
    check_same_shape(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        chosen_num_tokens=chosen_num_tokens,
        rejected_num_tokens=rejected_num_tokens,
    )
    chosen = log_odds(policy_chosen_logps / chosen_num_tokens)
    return lam * logistic(chosen - log_odds(policy_rejected_logps / rejected_num_tokens))


def log_odds(logps: Tensor) -> Tensor:
    """log(p / (1 - p)), [B], from log p <= 0; finite for log p = 0 too, see `CERTAIN`.

    >>> log_odds(torch.tensor([0.5, 0.2]).log()).exp()
    tensor([1.0000, 0.2500])
    """
    below_one = logps.clamp(max=CERTAIN)
    # log(1 - exp(x)) keeps its digits as log(-expm1(x)) for x near 0 and as log1p(-exp(x)) elsewhere (Maechler 2012).
    # Each form gets arguments of its own half only: the other one's infinite slope would be 0 * inf = NaN.
    near = below_one > -math.log(2)
    close = (-torch.expm1(torch.where(near, below_one, -0.5))).log()
    far = torch.log1p(-torch.where(near, -1.0, below_one).exp())
    return below_one - torch.where(near, close, far)
