"""CPO: DPO with a uniform reference, whose log-prob cancels; its NLL term on the chosen completion is a term of its own.

    L = -log sigmoid(beta * (log pi(chosen) - log pi(rejected)))  +  alpha * NLL(chosen)

Xu et al. 2024, arXiv 2401.08417, section 3. The second term is `preflow.losses.likelihood:nll`: the paper writes
a sum over tokens, all code averages over the chosen tokens of the batch (`token_mean`).
"""

from torch import Tensor

from preflow.losses.logps import check_same_shape, logistic


def cpo(policy_chosen_logps: Tensor, policy_rejected_logps: Tensor, *, beta: float = 0.1) -> Tensor:
    """-log sigmoid(beta * (log pi(chosen) - log pi(rejected))), [B] nats; sums over tokens, no reference.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        beta: > 0; 0.1 as in section 4.

    >>> import torch
    >>> cpo(torch.tensor([-2.0]), torch.tensor([-4.0]), beta=0.5)  # log(1 + exp(-1))
    tensor([0.3133])
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    return logistic(beta * (policy_chosen_logps - policy_rejected_logps))
