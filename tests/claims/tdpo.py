"""TDPO (arXiv 2404.11999): token-level divergence in the margin keeps the policy nearer to the reference than DPO.

Variant 1 rewards divergence on the chosen completion, where it ends further away than DPO; variant 2 stops that. The
paper's claim of more diversity did not show in small models and is not asserted.
"""

import torch

from claims.kit import Claim, mean, minimise
from claims.language import PROMPTS, Language, memorised
from preflow.losses.dpo import dpo
from preflow.losses.tdpo import tdpo

SEEDS, BETA, STEPS = 5, 0.1, 150
ARMS = ("dpo", "variant 1", "variant 2")


def claim() -> Claim:
    found = [{arm: divergences(seed, arm) for arm in ARMS} for seed in range(SEEDS)]

    def average(arm: str, part: int) -> float:
        return mean([each[arm][part] for each in found])

    chosen = all(each["variant 2"][0] < each["dpo"][0] < each["variant 1"][0] for each in found)
    rejected = all(each["variant 2"][1] < each["dpo"][1] for each in found)
    ranked = min(each[arm][2] for each in found for arm in ARMS)
    return Claim(
        method="tdpo",
        claim="At the same ranking, variant 2 (alpha 1) diverges less from the reference than DPO on chosen and rejected; variant 1 "
        "diverges more on the chosen.",
        baseline="DPO on the same pairs",
        measured={f"KL along the chosen, {arm}": average(arm, 0) for arm in ARMS}
        | {f"KL along the rejected, {arm}": average(arm, 1) for arm in ARMS}
        | {"smallest share of pairs ranked right": ranked},
        threshold=f"on each of {SEEDS} seeds: chosen variant 2 < DPO < variant 1, rejected variant 2 < DPO; all pairs ranked right",
        holds=chosen and rejected and ranked == 1,
    )


def divergences(seed: int, arm: str) -> tuple[float, float, float]:
    """(KL(reference || policy) along chosen and rejected completions in nats, share of pairs ranked right)."""
    language = Language(seed)
    prompts = torch.arange(PROMPTS)
    chosen = language.texts(prompts, language.write(PROMPTS))
    rejected = language.texts(prompts, language.write(PROMPTS))
    reference = memorised(chosen, rejected)
    sides = chosen.logps(reference), rejected.logps(reference)
    theta = reference.clone().requires_grad_()

    def loss() -> torch.Tensor:
        logps = chosen.logps(theta), rejected.logps(theta)
        if arm == "dpo":
            return dpo(*logps, *sides, beta=BETA).mean()
        kls = chosen.kls(reference, theta), rejected.kls(reference, theta)
        variant = 1 if arm == "variant 1" else 2
        return tdpo(*logps, *sides, *kls, beta=BETA, alpha=1.0, variant=variant).mean()

    minimise([theta], loss, steps=STEPS, learning_rate=0.01, decay=False)
    end = theta.detach()
    margins = (chosen.logps(end) - sides[0]) - (rejected.logps(end) - sides[1])
    return (
        chosen.kls(reference, end).mean().item(),
        rejected.kls(reference, end).mean().item(),
        (margins > 0).double().mean().item(),
    )
