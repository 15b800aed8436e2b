"""EXO: the reverse KL between the policy's choice and the label's, where DPO has the forward one.

    s = sigmoid(beta * h),   L = s * log(s / (1 - e)) + (1 - s) * log((1 - s) / e)

Ji et al. 2024, arXiv 2402.00856: EXO-pref, for two completions.
"""

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from preflow.losses.logps import margin


def exo_pair(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 1e-3,
) -> Tensor:
    """KL((s, 1 - s) || (1 - e, e)), [B] nats, with e = label_smoothing.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        beta: > 0; 0.1 as in TRL's index of the paper.
        label_smoothing: in (0, 1), below 0.5 for labels that mean something: a hard label would make the reverse KL infinite. 1e-3 as in TRL's index.

    >>> import torch
    >>> zero = torch.zeros(1)
    >>> exo_pair(zero, zero, zero, zero, label_smoothing=0.25)  # 0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25)
    tensor([0.1438])
    """
    if not 0 < label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 < label_smoothing < 1")
    z = beta * margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    won = z.sigmoid() * (logsigmoid(z) - math.log1p(-label_smoothing))
    lost = (-z).sigmoid() * (logsigmoid(-z) - math.log(label_smoothing))
    return won + lost
