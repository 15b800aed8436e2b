"""RSO (arXiv 2309.06657): rejection sampling thins the reference's samples to those of the best policy, and pairs from
there say more about it.

The law is exact for an unlimited pool; the distance with 64 candidates, of which 8 are kept, is recorded, not asserted.
The second half needs a world where a response says nothing of another one: the paper's argument is that pairs should
lie where the best policy does. Where rewards are linear in eight features, pairs from anywhere teach all of it, and
another policy's pairs did best; those numbers are recorded as well.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from claims.kit import Claim, generator, mean, minimise, total_variation, zeros
from claims.worlds import Bandit, Pairs
from preflow.losses.rso import sigmoid_norm
from preflow.selection.pairing import first_round
from preflow.selection.rejection import best_of_n, statistical_rejection_sample

SEEDS, POOL, KEPT, TEMPERATURE, STEPS = 20, 1024, 128, 1.0, 200
SMALL_POOL, SMALL_KEPT = 64, 8
LAW_SEEDS, LAW_POOL, LAW_KEPT, ANSWERS = 5, 40_000, 2000, 8
LAW, FAR, WINS = 0.04, 0.15, 12


def claim() -> Claim:
    law = [law_of(seed) for seed in range(LAW_SEEDS)]
    sources = ("rso", "reference", "other")
    found = {source: [divergence(seed, source, "separate") for seed in range(SEEDS)] for source in sources}
    means = {source: mean(values) for source, values in found.items()}
    linear = {source: mean([divergence(seed, source, "linear") for seed in range(SEEDS)]) for source in sources}
    wins = sum(rso < sft for rso, sft in zip(found["rso"], found["reference"], strict=True))
    return Claim(
        method="rso",
        claim="Rejection sampling draws from reference * exp(reward / temperature) / Z, and pairs of such samples estimate the "
        "best policy better than pairs of the reference's or of another policy's.",
        baseline="the same number of the reference's samples, the best of n, and another policy's pairs",
        measured={
            "largest distance of the kept to the law": max(each["srs"] for each in law),
            "smallest of the reference's samples": min(each["first"] for each in law),
            "smallest of the best of n": min(each["best"] for each in law),
            f"distance with {SMALL_KEPT} of {SMALL_POOL} kept (not asserted)": mean([each["finite"] for each in law]),
            "KL(best || trained), rso pairs": means["rso"],
            "KL(best || trained), reference's pairs": means["reference"],
            "KL(best || trained), other policy's pairs": means["other"],
            f"seeds of {SEEDS} that rso wins over the reference's": wins,
            **{f"linear rewards: {source} (not asserted)": value for source, value in linear.items()},
        },
        threshold=f"kept within {LAW} in total variation on each of {LAW_SEEDS} seeds, the others > {FAR}; mean KL rso < "
        f"reference < other, and rso below reference on at least {WINS} of {SEEDS} seeds",
        holds=max(each["srs"] for each in law) < LAW
        and min(min(each["first"], each["best"]) for each in law) > FAR
        and means["rso"] < means["reference"] < means["other"]
        and wins >= WINS,
    )


def uniforms(random: torch.Generator) -> Iterator[float]:
    while True:
        yield from torch.rand(1000, generator=random).tolist()


def law_of(seed: int) -> dict[str, float]:
    """Total variation to the law of what each way of keeping keeps, over ANSWERS answers."""
    random = generator(seed)
    reward = torch.randn(ANSWERS, generator=random, dtype=torch.float64)
    reference = torch.randn(ANSWERS, generator=random, dtype=torch.float64).softmax(-1)
    law = (reference.log() + reward / TEMPERATURE).softmax(-1)
    drawn = torch.multinomial(reference, LAW_POOL, replacement=True, generator=random)
    scores, chance = reward[drawn].tolist(), uniforms(random)

    def distance(places: Tensor) -> float:
        counts = torch.bincount(drawn[places], minlength=ANSWERS).double()
        return total_variation(counts / counts.sum(), law)

    def kept(pool: range, count: int) -> list[int]:
        own = [scores[place] for place in pool]
        return [pool[i] for i in statistical_rejection_sample(own, count, TEMPERATURE, chance).indices]

    small = [kept(range(start, start + SMALL_POOL), SMALL_KEPT) for start in range(0, SMALL_POOL * 250, SMALL_POOL)]
    return {
        "srs": distance(torch.tensor(kept(range(LAW_POOL), LAW_KEPT))),
        "first": distance(torch.arange(LAW_KEPT)),
        "best": distance(torch.tensor(best_of_n(scores, LAW_KEPT).indices)),
        "finite": distance(torch.tensor(small).flatten()),
    }


def divergence(seed: int, source: str, world: str) -> float:
    """KL(best || trained) in nats after training on pairs of one source; both worlds can express the best policy."""
    bandit = Bandit.draw(seed, prompts=8, responses=64)
    own = torch.randn(bandit.reference.shape, generator=generator(1000 + seed), dtype=torch.float64)
    sampler = own if source == "other" else bandit.reference
    pairs = ranked_pairs(bandit, seed, sampler.log_softmax(-1), thin=source == "rso")
    theta = zeros(*bandit.features.shape[-1:]) if world == "linear" else zeros(*bandit.reference.shape)

    def logps() -> Tensor:
        return bandit.logps(theta) if world == "linear" else (bandit.reference + theta).log_softmax(-1)

    def loss() -> Tensor:
        return sigmoid_norm(*pairs.of(logps()), *pairs.of(bandit.reference), beta=TEMPERATURE).mean()

    minimise([theta], loss, steps=STEPS, learning_rate=0.05)
    best = bandit.best(TEMPERATURE)
    return (best.exp() * (best - logps().detach())).sum(-1).mean().item()


def ranked_pairs(bandit: Bandit, seed: int, sampler: Tensor, *, thin: bool) -> Pairs:
    """KEPT / 2 pairs per prompt of POOL samples, thinned or the first ones, labelled by a Bradley-Terry annotator."""
    random = generator(seed)
    rows, chance = [], uniforms(random)
    for prompt, (logps, gold) in enumerate(zip(sampler, bandit.gold, strict=True)):
        drawn = torch.multinomial(logps.exp(), POOL, replacement=True, generator=random)
        places = list(range(KEPT))
        if thin:
            places = list(statistical_rejection_sample(gold[drawn].tolist(), KEPT, TEMPERATURE, chance).indices)
        kept = drawn[places]
        noise = -(-torch.rand(KEPT, generator=random, dtype=torch.float64).log()).log()
        order = torch.randperm(KEPT, generator=random).tolist()
        for better, worse in first_round((gold[kept] + noise).tolist(), order):
            if kept[better] != kept[worse]:
                rows.append((prompt, kept[better].item(), kept[worse].item()))
    return Pairs(*torch.tensor(rows).T)
