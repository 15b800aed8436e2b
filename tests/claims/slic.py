"""SLiC-HF (arXiv 2305.10425): calibration on ranked samples of the model goes beyond supervised training on the best of
them, and leaves a pair alone once it is ranked by the margin."""

import torch
from torch import Tensor

from claims.kit import Claim, converge, generator, mean, minimise, zeros
from claims.worlds import Bandit, Pairs
from preflow.losses.likelihood import nll
from preflow.losses.slic import slic
from preflow.selection.tournament import tournament

SEEDS, SAMPLES, DELTA, STEPS = 5, 8, 1.0, 2000
SATISFIED, GAIN = 0.95, 1.05


def claim() -> Claim:
    found = [run(seed) for seed in range(SEEDS)]

    def column(name: str) -> list[float]:
        return [each[name] for each in found]

    return Claim(
        method="slic",
        claim="Calibrating on a tournament of the model's own samples gains more than supervised training on the best of them, and "
        "pairs beyond the margin have no gradient.",
        baseline=f"supervised training on the best of the same {SAMPLES} samples",
        measured={
            "gain in gold reward": mean(column("slic")),
            "baseline's gain": mean(column("best")),
            "smallest ratio of the gains": min(s / b for s, b in zip(column("slic"), column("best"), strict=True)),
            "smallest share of pairs beyond the margin": min(column("satisfied")),
            "largest gradient of such a pair": max(column("gradient")),
        },
        threshold=f"held-out gain > {GAIN} times the baseline's on each of {SEEDS} seeds; share > {SATISFIED}; gradient exactly 0",
        holds=all(s > GAIN * b for s, b in zip(column("slic"), column("best"), strict=True))
        and min(column("satisfied")) > SATISFIED
        and max(column("gradient")) == 0,
    )


def run(seed: int) -> dict[str, float]:
    bandit = Bandit.draw(seed, prompts=64)
    training, heldout = bandit.half(False), bandit.half(True)
    pairs, best = samples(training, seed)
    calibrated, supervised = zeros(8), zeros(8)
    minimise(
        [calibrated],
        lambda: slic(*pairs.of(training.logps(calibrated)), delta=DELTA).mean(),
        steps=STEPS,
        learning_rate=0.2,
    )
    converge([supervised], lambda: nll(training.logps(supervised)[torch.arange(len(best)), best]).mean())
    chosen, rejected = (side.detach() for side in pairs.of(training.logps(calibrated)))
    chosen.requires_grad_()
    slic(chosen, rejected, delta=DELTA).sum().backward()
    beyond = chosen.detach() - rejected > DELTA
    start = heldout.reward(zeros(8))
    return {
        "slic": heldout.reward(calibrated) - start,
        "best": heldout.reward(supervised) - start,
        "satisfied": beyond.double().mean().item(),
        "gradient": chosen.grad[beyond].abs().max().item(),
    }


def samples(bandit: Bandit, seed: int) -> tuple[Pairs, Tensor]:
    """SAMPLES draws per prompt from the model: the pairs of their tournament by the gold reward, and the best [P]."""
    random, rows, best = generator(seed), [], []
    for prompt, (logps, gold) in enumerate(zip(bandit.reference, bandit.gold, strict=True)):
        drawn = torch.multinomial(logps.exp(), SAMPLES, generator=random)
        scores = gold[drawn]
        for better, worse in tournament(scores.tolist(), torch.randperm(SAMPLES, generator=random).tolist()):
            rows.append((prompt, drawn[better].item(), drawn[worse].item()))
        best.append(drawn[scores.argmax()].item())
    return Pairs(*torch.tensor(rows).T), torch.tensor(best)
