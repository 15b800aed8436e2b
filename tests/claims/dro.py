"""DRO-V (arXiv 2405.19107): single scored completions suffice, if the value is learned and depends on the prompt."""

import torch
from torch import Tensor

from claims.kit import Claim, generator, mean, minimise, total_variation, zeros
from preflow.losses.dro import dro

SEEDS, PROMPTS, ANSWERS, TAU, STEPS = 5, 12, 6, 0.5, 6000
CLOSE, FAR = 0.01, 0.1
VALUES = ("per prompt", "one for all", "none")


def claim() -> Claim:
    found = {values: run(values) for values in VALUES}
    distances = {values: found[values][0] for values in VALUES}
    own = found["per prompt"]
    return Claim(
        method="dro",
        claim="From single scored completions of another policy, with a value per prompt, it ends at reference * exp(reward / tau) "
        "/ Z.",
        baseline="one value for all prompts, and no value",
        measured={
            "largest distance to the optimum": max(distances["per prompt"]),
            "smallest with one value": min(distances["one for all"]),
            "smallest without a value": min(distances["none"]),
            "largest error of the value": max(own[1]),
            "regularised return": mean(own[2]),
            "of the optimum": mean(own[3]),
            "with one value": mean(found["one for all"][2]),
        },
        threshold=f"mean total variation < {CLOSE} on each of {SEEDS} seeds, of the baselines > {FAR}; value within {CLOSE}",
        holds=max(distances["per prompt"]) < CLOSE
        and max(own[1]) < CLOSE
        and min(distances["one for all"] + distances["none"]) > FAR,
    )


def world() -> tuple[Tensor, Tensor, Tensor]:
    """Scores, log-probs of the reference, probabilities of the behaviour, [SEEDS, PROMPTS, ANSWERS]. Some prompts are
    easier than others; scores are standardised."""
    random = generator(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    shape = SEEDS, PROMPTS, ANSWERS
    scores = normal(*shape) + normal(SEEDS, PROMPTS, 1)
    scores = (scores - scores.mean((1, 2), keepdim=True)) / scores.std((1, 2), correction=0, keepdim=True)
    return scores, normal(*shape).log_softmax(-1), normal(*shape).softmax(-1)


def run(values: str) -> tuple[list[float], list[float], list[float], list[float]]:
    """By seed, all trained side by side: distance to the best policy, largest error of the value, regularised return,
    that of the best policy."""
    scores, reference, behaviour = world()
    logits = reference.clone().requires_grad_()
    value = zeros(SEEDS, PROMPTS if values == "per prompt" else 1, 1)

    def loss() -> Tensor:
        own = (value if values != "none" else value.detach()).expand(scores.shape).flatten()
        logps = logits.log_softmax(-1).flatten()
        return (behaviour.flatten() * dro(logps, reference.flatten(), own, scores.flatten(), tau=TAU)).sum() / PROMPTS

    minimise([logits] if values == "none" else [logits, value], loss, steps=STEPS, learning_rate=0.05)
    policy, tilted = logits.detach().log_softmax(-1), reference + scores / TAU
    best, best_value = tilted.log_softmax(-1), TAU * tilted.logsumexp(-1, keepdim=True)

    def regularised(logps: Tensor) -> list[float]:
        return (logps.exp() * (scores - TAU * (logps - reference))).sum(-1).mean(-1).tolist()

    errors = (value.detach() - best_value).abs().amax((1, 2)).tolist()
    distances = [total_variation(p, q) for p, q in zip(policy.exp(), best.exp(), strict=True)]
    return distances, errors, regularised(policy), regularised(best)
