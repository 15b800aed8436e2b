"""KTO (arXiv 2402.01306): a thumb up or down per completion does the work of pairs, and weights make up for rare thumbs."""

import torch
from torch import Tensor

from claims.kit import Claim, at_kl, converge, generator, mean, minimise, zeros
from claims.worlds import Bandit
from preflow.losses.dpo import dpo
from preflow.losses.kto import kto
from preflow.selection.imbalance import weight_intervals

SEEDS, PAIRS, BETA, STEPS = 5, 512, 0.5, 120
GRID = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
PARITY = 0.95
RARE, KEPT = 0.1, 0.9  # of desirable rows, a tenth is kept; what the good answer must get and what it must not get


def claim() -> Claim:
    found = [against_pairs(seed) for seed in range(SEEDS)]
    ratio = [each["kto"] / each["dpo"] for each in found]
    unweighted, weighted = imbalance(weight=False), imbalance(weight=True)
    return Claim(
        method="kto",
        claim="Single thumbs in place of pairs reach the reward of DPO at the same KL, and a weight by the rule makes up for nine of "
        "ten desirable ones missing.",
        baseline="DPO on the pairs that the thumbs were taken from; KTO without the weight",
        measured={
            "gain in gold reward": mean([each["kto"] for each in found]),
            "DPO's at the same KL": mean([each["dpo"] for each in found]),
            "smallest ratio": min(ratio),
            "KL": mean([each["KL"] for each in found]),
            "share of the good answer with the weight": weighted,
            "without": unweighted,
        },
        threshold=f"mean ratio of held-out gains over {SEEDS} seeds > {PARITY}; good answer > {KEPT} with the weight, < {1 - KEPT:.1f} "
        "without",
        holds=mean(ratio) > PARITY and weighted > KEPT and unweighted < 1 - KEPT,
    )


def against_pairs(seed: int) -> dict[str, float]:
    """Held-out gains in gold reward of KTO, and of DPO at KTO's KL; batches are all rows."""
    bandit = Bandit.draw(seed, prompts=64)
    training, heldout = bandit.half(False), bandit.half(True)
    pairs = training.pairs(seed, PAIRS)
    prompts = torch.cat([pairs.prompts, pairs.prompts])
    answers = torch.cat([pairs.chosen, pairs.rejected])
    desirable = torch.arange(len(prompts)) < PAIRS
    order = torch.randperm(len(prompts), generator=generator(seed))
    prompts, answers, desirable = prompts[order], answers[order], desirable[order]
    theta = zeros(8)

    def loss() -> Tensor:
        logps, reference = training.logps(theta), training.reference
        other = answers.roll(1)
        sides = logps[prompts, answers], reference[prompts, answers], desirable
        return kto(*sides, logps[prompts, other], reference[prompts, other], beta=BETA).losses.mean()

    minimise([theta], loss, steps=STEPS, learning_rate=0.03)
    start, points = heldout.reward(zeros(8)), [(0.0, heldout.reward(zeros(8)))]
    for beta in GRID:
        paired = zeros(8)
        converge([paired], lambda: training.pair_loss(paired, pairs, lambda *s: dpo(*s, beta=beta)).mean())  # noqa: B023
        points.append((heldout.kl(paired), heldout.reward(paired)))
    kl = heldout.kl(theta)
    return {"kto": heldout.reward(theta) - start, "dpo": at_kl(points, kl) - start, "KL": kl}


def imbalance(*, weight: bool) -> float:
    """The policy's share of a good answer (80 of 100 thumbs up), beside a bad one (20 of 100) and one never seen, where a
    tenth of the thumbs up is left; whole batches, the reference point from shuffled rows of one prompt."""
    ups, downs = (round(80 * RARE), round(20 * RARE)), (20, 80)
    answers = torch.tensor([0] * (ups[0] + downs[0]) + [1] * (ups[1] + downs[1]))
    desirable = torch.tensor([True] * ups[0] + [False] * downs[0] + [True] * ups[1] + [False] * downs[1])
    lowest, _ = weight_intervals(sum(ups), sum(downs)).desirable_weight
    logits, reference = zeros(3), torch.full((3,), 1 / 3, dtype=torch.float64).log()

    def loss() -> Tensor:
        logps = logits.log_softmax(-1)
        rows = logps[answers], reference[answers], desirable, logps[answers.roll(1)], reference[answers.roll(1)]
        return kto(*rows, beta=BETA, desirable_weight=lowest if weight else 1.0).losses.mean()

    minimise([logits], loss, steps=800, learning_rate=0.05)
    return logits.detach().softmax(-1)[0].item()
