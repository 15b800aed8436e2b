"""DPO (arXiv 2305.18290): its loss alone, on comparisons, ends at the optimum of the KL-regularised reward."""

import torch
from torch import Tensor

from claims.kit import Claim, converge, generator, total_variation
from preflow.losses.dpo import dpo
from preflow.losses.likelihood import nll

SEEDS, RESPONSES, BETA = 5, 6, 0.5
CLOSE, FAR = 1e-3, 0.1


def claim() -> Claim:
    found = [distances(seed) for seed in range(SEEDS)]
    method, baseline = max(each[0] for each in found), min(each[1] for each in found)
    return Claim(
        method="dpo",
        claim="Without a reward model and without RL, the loss on comparisons ends at reference * exp(reward / beta) / Z.",
        baseline="supervised training on the chosen responses of the same comparisons",
        measured={"largest distance to the optimum": method, "baseline's smallest": baseline},
        threshold=f"total variation < {CLOSE} on each of {SEEDS} seeds, the baseline's > {FAR} on each",
        holds=method < CLOSE and baseline > FAR,
    )


def distances(seed: int) -> tuple[float, float]:
    """Total variation to the optimum of DPO and of supervised training, on the whole Bradley-Terry population."""
    random = generator(seed)
    reward = 1.5 * torch.randn(RESPONSES, generator=random, dtype=torch.float64)
    reference = torch.randn(RESPONSES, generator=random, dtype=torch.float64).log_softmax(-1)
    best = (reference + reward / BETA).softmax(-1)
    chosen, rejected = (~torch.eye(RESPONSES, dtype=torch.bool)).nonzero(as_tuple=True)
    likely = reference.exp()[chosen] * reference.exp()[rejected] * (reward[chosen] - reward[rejected]).sigmoid()
    likely = likely / likely.sum()

    def trained(loss) -> Tensor:
        logits = reference.clone().requires_grad_()
        converge([logits], lambda: (likely * loss(logits.log_softmax(-1))).sum())
        return logits.detach().softmax(-1)

    preferred = trained(
        lambda logps: dpo(logps[chosen], logps[rejected], reference[chosen], reference[rejected], beta=BETA)
    )
    supervised = trained(lambda logps: nll(logps[chosen]))
    return total_variation(preferred, best), total_variation(supervised, best)
