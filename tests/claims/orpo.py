"""ORPO (arXiv 2403.07691): supervised training raises the rejected completion too; the odds ratio beside it does not."""

import torch

from claims.kit import Claim, mean, minimise, zeros
from claims.language import LENGTH, PROMPTS, WIDTH, WORDS, Language
from preflow.losses.likelihood import nll_per_token
from preflow.losses.orpo import orpo

SEEDS, LAM, STEPS, SHARED = 5, 1.0, 40, 6
MARGIN, NEAR = 2.0, 0.9


def claim() -> Claim:
    found = [{arm: changes(seed, arm) for arm in ("orpo", "supervised")} for seed in range(SEEDS)]
    rises = min(each["supervised"][1] for each in found)
    wider = min((each["orpo"][0] - each["orpo"][1]) / (each["supervised"][0] - each["supervised"][1]) for each in found)
    kept = min(each["orpo"][0] / each["supervised"][0] for each in found)
    return Claim(
        method="orpo",
        claim="In one training from the base model and without a reference, the chosen rises as by supervised training, and the "
        "rejected is left behind.",
        baseline="supervised training on the chosen completions: the rejected rises with them",
        measured={
            f"change of the {side}, {arm}": mean([each[arm][part] for each in found])
            for arm in ("orpo", "supervised")
            for part, side in enumerate(("chosen", "rejected"))
        }
        | {"smallest ratio of margins": wider, "smallest ratio of the chosen's rise": kept},
        threshold=f"on each of {SEEDS} seeds: the rejected rises by supervised training; ORPO's margin > {MARGIN} times as wide; its "
        f"chosen rises > {NEAR} times as much",
        holds=rises > 0 and wider > MARGIN and kept > NEAR,
    )


def changes(seed: int, arm: str) -> tuple[float, float]:
    """Changes of the mean log-prob (nats) of chosen and rejected, which share their first SHARED words."""
    language = Language(seed)
    prompts, words = torch.arange(PROMPTS), language.write(PROMPTS)
    other = torch.cat([words[:, :SHARED], language.write(PROMPTS)[:, SHARED:]], 1)
    chosen, rejected = language.texts(prompts, words), language.texts(prompts, other)
    theta, lengths = zeros(WIDTH, WORDS), torch.full((PROMPTS,), float(LENGTH), dtype=torch.float64)

    def loss() -> torch.Tensor:
        likelihood = nll_per_token(chosen.logps(theta), lengths)
        if arm == "supervised":
            return likelihood.mean()
        return (likelihood + orpo(chosen.logps(theta), rejected.logps(theta), lengths, lengths, lam=LAM)).mean()

    start = [each.logps(theta).mean().item() for each in (chosen, rejected)]
    minimise([theta], loss, steps=STEPS, learning_rate=0.02, decay=False)
    end = [each.logps(theta).mean().item() for each in (chosen, rejected)]
    return end[0] - start[0], end[1] - start[1]
