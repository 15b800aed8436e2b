"""CPO (arXiv 2401.08417): without a reference, the contrast and the likelihood of the chosen need each other.

The paper's other claim, half the memory of DPO, is true of DPO with the reference in memory; it is gone where the
reference's log-probs are cached, as they are here.
"""

import torch

from claims.kit import Claim, mean, minimise, zeros
from claims.worlds import crowd, crowd_logps
from preflow.losses.cpo import cpo
from preflow.losses.dpo import dpo
from preflow.losses.likelihood import nll

SEEDS, BETA, STEPS = 5, 0.1, 600
ARMS = ("both", "contrast", "likelihood")
SAME = 1e-12


def claim() -> Claim:
    found = [{arm: changes(seed, arm) for arm in ARMS} for seed in range(SEEDS)]
    up = all(each["both"][0] > 0 for each in found) and all(each["contrast"][0] < 0 for each in found)
    apart = all(each["both"][0] - each["both"][1] > each["likelihood"][0] - each["likelihood"][1] for each in found)
    same = gradient_difference()
    return Claim(
        method="cpo",
        claim="The contrastive term is DPO's with a uniform reference; with the likelihood of the chosen beside it the chosen rises "
        "and the pair is further apart than by likelihood alone.",
        baseline="each of the two terms alone",
        measured={f"change of the chosen, {arm}": mean([each[arm][0] for each in found]) for arm in ARMS}
        | {f"change of the rejected, {arm}": mean([each[arm][1] for each in found]) for arm in ARMS}
        | {"largest difference to DPO's gradient with a uniform reference": same},
        threshold=f"on each of {SEEDS} seeds: the chosen rises with both, falls with the contrast alone; margin of both > of the "
        f"likelihood; gradients within {SAME}",
        holds=up and apart and same < SAME,
    )


def changes(seed: int, arm: str) -> tuple[float, float]:
    """Changes of log-prob (nats) of chosen and rejected, nearly the same answers of a crowd of 50."""
    features, theta = crowd(seed), zeros(8)
    start = [side.item() for side in crowd_logps(features, zeros(8))]

    def loss() -> torch.Tensor:
        chosen, rejected = crowd_logps(features, theta)
        parts = {"contrast": cpo(chosen, rejected, beta=BETA).sum(), "likelihood": nll(chosen).sum()}
        return sum(parts.values()) if arm == "both" else parts[arm]

    minimise([theta], loss, steps=STEPS, learning_rate=0.1)
    chosen, rejected = crowd_logps(features, theta.detach())
    return chosen.item() - start[0], rejected.item() - start[1]


def gradient_difference() -> float:
    """Between the contrastive term and DPO with a uniform reference, in theta, on SEEDS random policies."""
    differences = []
    for seed in range(SEEDS):
        features, random = crowd(seed), torch.Generator().manual_seed(seed)
        theta = torch.randn(8, generator=random, dtype=torch.float64).requires_grad_()
        uniform = torch.full((1,), 1 / len(features), dtype=torch.float64).log()
        chosen, rejected = crowd_logps(features, theta)
        (without,) = torch.autograd.grad(cpo(chosen, rejected, beta=BETA).sum(), theta, retain_graph=True)
        (uniformly,) = torch.autograd.grad(dpo(chosen, rejected, uniform, uniform, beta=BETA).sum(), theta)
        differences.append((without - uniformly).abs().max().item())
    return max(differences)
