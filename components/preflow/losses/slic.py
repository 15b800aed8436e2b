"""SLiC-HF: a calibration hinge without a reference; its regulariser, the NLL of a target, is a term of its own.

    L = max(0, delta - (log pi(chosen) - log pi(rejected)))  -  lambda * log pi(target)

Zhao et al. 2023, arXiv 2305.10425, equation 4. The second term is `preflow.losses.likelihood:nll`, summed over tokens.
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape


def slic(policy_chosen_logps: Tensor, policy_rejected_logps: Tensor, *, delta: float = 1.0) -> Tensor:
    """max(0, delta - (log pi(chosen) - log pi(rejected))), [B] nats; the subgradient at the kink is 0.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        delta: >= 0 nats; the ranking margin, 1.0 in the paper. Pairs beyond it have no gradient.

    >>> import torch
    >>> slic(torch.tensor([-12.0, -12.0]), torch.tensor([-13.5, -12.25]))  # margins 1.5 and 0.25
    tensor([0.0000, 0.7500])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    return (delta - (policy_chosen_logps - policy_rejected_logps)).relu()
