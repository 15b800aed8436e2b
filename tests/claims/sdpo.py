"""sDPO (arXiv 2403.19270): a stage's model is a better reference for the next, and stages go beyond DPO at one beta.

The paper does not compare with DPO at beta / stages. At convergence every stage multiplies the policy by
exp(reward / beta), so that is where the gain comes from; the demonstration measures it as well.
"""

import math

import torch
from torch import Tensor

from claims.kit import Claim, converge, mean, zeros
from claims.worlds import Bandit, Pairs
from preflow.losses.dpo import dpo
from preflow.selection.stages import gamma

SEEDS, STAGES, PAIRS, BETA = 8, 2, 500, 1.0
EXACT, SAME = 1e-12, 0.02


def claim() -> Claim:
    found = [run(seed) for seed in range(SEEDS)]

    def column(name: str) -> list[float]:
        return [each[name] for each in found]

    tighter = [after - before for after, before in zip(column("gamma after"), column("gamma before"), strict=True)]
    above = [staged - once for staged, once in zip(column("staged"), column("dpo"), strict=True)]
    differ = max(abs(s - d) / d for s, d in zip(column("staged"), column("dpo, beta / stages"), strict=True))
    start = max(abs(value - math.log(2)) for value in column("first loss"))
    return Claim(
        method="sdpo",
        claim="A stage's model is a better reference for the next stage's pairs, and stages end above DPO on all pairs at the "
        "same beta - where DPO at beta / stages ends too.",
        baseline="DPO on all pairs at once, at beta and at beta / stages",
        measured={
            "mean gamma of stage 2's pairs, initial model": mean(column("gamma before")),
            "mean gamma of stage 2's pairs, stage 1's model": mean(column("gamma after")),
            "gold reward, staged": mean(column("staged")),
            "gold reward, DPO": mean(column("dpo")),
            "gold reward, DPO at beta / stages": mean(column("dpo, beta / stages")),
            "largest |first loss of stage 2 - ln 2|": start,
        },
        threshold=f"gamma rises and staged > DPO at beta on each of {SEEDS} seeds; within {SAME:.0%} of DPO at beta / stages; every "
        f"stage starts within {EXACT} of ln 2",
        holds=min(tighter) > 0 and min(above) > 0 and differ < SAME and start < EXACT,
    )


def run(seed: int) -> dict[str, float]:
    """The numbers of one seed; rewards on held-out prompts."""
    bandit = Bandit.draw(seed, prompts=64)
    training, heldout = bandit.half(False), bandit.half(True)
    pairs = training.pairs(seed, PAIRS * STAGES)
    stages = [pairs.rows(torch.arange(PAIRS) + PAIRS * stage) for stage in range(STAGES)]
    theta, models, first_loss = zeros(8).detach(), [], 0.0
    for stage in stages:
        reference = training.logps(theta)
        first_loss = training.pair_loss(theta, stage, dpo, reference).mean().item()
        theta = trained(training, stage, theta, BETA)
        models.append(theta)
    once = {beta: trained(training, pairs, zeros(8).detach(), beta) for beta in (BETA, BETA / STAGES)}
    return {
        "gamma before": mean_gamma(stages[1], training.reference),
        "gamma after": mean_gamma(stages[1], training.logps(models[0])),
        "first loss": first_loss,
        "staged": heldout.reward(theta),
        "dpo": heldout.reward(once[BETA]),
        "dpo, beta / stages": heldout.reward(once[BETA / STAGES]),
    }


def trained(bandit: Bandit, pairs: Pairs, start: Tensor, beta: float) -> Tensor:
    """DPO to its minimum from `start`, which is the reference too."""
    reference, theta = bandit.logps(start), start.clone().requires_grad_()
    converge([theta], lambda: bandit.pair_loss(theta, pairs, lambda *sides: dpo(*sides, beta=beta), reference).mean())
    return theta.detach()


def mean_gamma(pairs: Pairs, logps: Tensor) -> float:
    chosen, rejected = pairs.of(logps)
    return mean([gamma(c, r) for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True)])
