"""beta-DPO (arXiv 2407.08639): a beta per batch and a filter on the gap help where labels are flipped.

It also moves further from the reference, so DPO is asked twice: at the same beta, and at the same KL.
"""

import torch
from torch import Tensor

from claims.kit import Claim, at_kl, generator, mean, zeros
from claims.worlds import Bandit, Pairs
from preflow.losses.beta_dpo import beta_dpo
from preflow.losses.dpo import dpo

SEEDS, PAIRS, BATCH, EPOCHS, FLIPS = 12, 512, 64, 25, 0.2
BETA, GRID = 0.5, (0.2, 0.3, 0.4, 0.5, 0.8)
WINS = 9


def claim() -> Claim:
    found = [rewards(seed) for seed in range(SEEDS)]
    same_beta = sum(each["method"] > each["same beta"] for each in found)
    same_kl = sum(each["method"] > each["same KL"] for each in found)
    return Claim(
        method="beta_dpo",
        claim=f"With {FLIPS:.0%} of the labels flipped, the dynamic beta and the filter end at a higher gold reward than DPO.",
        baseline="DPO on the same batches, at the same beta, and at the beta that ends at the same KL",
        measured={
            "gold reward": mean([each["method"] for each in found]),
            "DPO's, same beta": mean([each["same beta"] for each in found]),
            "DPO's, same KL": mean([each["same KL"] for each in found]),
            "KL": mean([each["KL"] for each in found]),
            "DPO's KL, same beta": mean([each["DPO's KL"] for each in found]),
            f"wins of {SEEDS}, same beta": same_beta,
            f"wins of {SEEDS}, same KL": same_kl,
        },
        threshold=f"higher held-out gold reward on at least {WINS} of {SEEDS} seeds, at the same beta and at the same KL",
        holds=same_beta >= WINS and same_kl >= WINS,
    )


def rewards(seed: int) -> dict[str, float]:
    """Gold rewards and KLs on held-out prompts, of beta-DPO and of DPO."""
    bandit = Bandit.draw(seed, prompts=64)
    training, heldout = bandit.half(False), bandit.half(True)
    pairs = training.pairs(seed, PAIRS, flips=FLIPS)
    method = trained(training, pairs, seed, None)
    points = {
        beta: (heldout.kl(theta), heldout.reward(theta))
        for beta in GRID
        for theta in [trained(training, pairs, seed, beta)]
    }
    return {
        "method": heldout.reward(method),
        "KL": heldout.kl(method),
        "same beta": points[BETA][1],
        "DPO's KL": points[BETA][0],
        "same KL": at_kl(list(points.values()), heldout.kl(method)),
    }


def trained(bandit: Bandit, pairs: Pairs, seed: int, fixed: float | None) -> Tensor:
    """theta after EPOCHS of Adam over batches: DPO at a fixed beta, or beta-DPO from BETA."""
    random, state = generator(seed), {}
    theta = zeros(bandit.features.shape[-1])
    optimizer = torch.optim.Adam([theta], lr=0.05)
    total = EPOCHS * PAIRS // BATCH
    for step in range(total):
        batch = pairs.rows(torch.randperm(PAIRS, generator=random)[:BATCH])
        draws = torch.rand(BATCH, generator=random, dtype=torch.float64)
        sides = *batch.of(bandit.logps(theta)), *batch.of(bandit.reference)
        if fixed is None:
            found = beta_dpo(*sides, state, draws, beta=BETA)
            state = found.state
            loss = (found.losses * found.weights).sum() / found.weights.sum()
        else:
            loss = dpo(*sides, beta=fixed).mean()
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / total)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return theta.detach()
