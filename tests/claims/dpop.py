"""DPO-positive (arXiv 2402.13228): pairs that differ in one word make DPO lower the chosen one; the penalty stops that."""

import torch

from claims.kit import Claim, mean, minimise
from claims.language import PROMPTS, Language, memorised
from preflow.losses.dpo import dpo
from preflow.losses.dpop import dpop

SEEDS, BETA, LAM, STEPS, EDITED = 5, 0.3, 50.0, 150, 2
FALLS, HELD, APART = -0.3, -0.05, 0.1


def claim() -> Claim:
    found = {
        (near, name): [change(seed, near, name) for seed in range(SEEDS)] for near in (True, False) for name in LOSSES
    }
    dpo_near, dpop_near, dpo_far = found[True, "dpo"], found[True, "dpop"], found[False, "dpo"]
    ranked = min(each[2] for values in found.values() for each in values)
    return Claim(
        method="dpop",
        claim="On pairs that differ in one word DPO lowers the chosen completion below the reference, and DPO-positive does not.",
        baseline="DPO on the same pairs, and on pairs that differ in every word, where it hardly does",
        measured={
            "chosen, dpo, one word": mean([each[0] for each in dpo_near]),
            "chosen, dpo-positive, one word": mean([each[0] for each in dpop_near]),
            "chosen, dpo, all words": mean([each[0] for each in dpo_far]),
            "of it after the edited word, dpo": mean([each[1] for each in dpo_near]),
            "smallest share of pairs ranked right": ranked,
        },
        threshold=f"change of the chosen's log-prob on each of {SEEDS} seeds: DPO < {FALLS}, DPO-positive > {HELD}, DPO on all words "
        f"within {APART}; all pairs ranked right",
        holds=max(each[0] for each in dpo_near) < FALLS
        and min(each[0] for each in dpop_near) > HELD
        and max(abs(each[0]) for each in dpo_far) < APART
        and ranked == 1,
    )


LOSSES = {
    "dpo": lambda *sides: dpo(*sides, beta=BETA),
    "dpop": lambda *sides: dpop(*sides, beta=BETA, lam=LAM),
}


def change(seed: int, near: bool, name: str) -> tuple[float, float, float]:
    """(change of the chosen's log-prob in nats, the part of it after the edited word, share of pairs ranked right)."""
    language = Language(seed)
    prompts, words = torch.arange(PROMPTS), language.write(PROMPTS)
    chosen = language.texts(prompts, words)
    rejected = language.texts(prompts, language.edited(words, EDITED) if near else language.write(PROMPTS))
    reference = memorised(chosen)
    start = chosen.token_logps(reference)
    sides = start.sum(1), rejected.logps(reference)
    theta = reference.clone().requires_grad_()
    minimise(
        [theta],
        lambda: LOSSES[name](chosen.logps(theta), rejected.logps(theta), *sides).mean(),
        steps=STEPS,
        learning_rate=0.01,
        decay=False,
    )
    moved = chosen.token_logps(theta.detach()) - start
    margins = moved.sum(1) - (rejected.logps(theta.detach()) - sides[1])
    after = moved[:, EDITED + 1 :].sum(1).mean().item()
    return moved.sum(1).mean().item(), after, (margins > 0).double().mean().item()
