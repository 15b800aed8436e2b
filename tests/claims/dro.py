"""DRO-V (arXiv 2405.19107): single scored completions suffice, if the value is learned and depends on the prompt."""

import torch
from torch import Tensor

from claims.kit import Claim, generator, mean, minimise, total_variation, zeros
from preflow.losses.dro import dro

SEEDS, PROMPTS, ANSWERS, TAU, STEPS = 5, 12, 6, 0.5, 1500
CLOSE, FAR = 0.01, 0.1
VALUES = ("per prompt", "one for all", "none")


def claim() -> Claim:
    found = {values: [run(seed, values) for seed in range(SEEDS)] for values in VALUES}
    distances = {values: [each[0] for each in found[values]] for values in VALUES}
    return Claim(
        method="dro",
        claim="From single scored completions of another policy, with a value per prompt, it ends at reference * exp(reward / tau) "
        "/ Z.",
        baseline="one value for all prompts, and no value",
        measured={
            "largest distance to the optimum": max(distances["per prompt"]),
            "smallest with one value": min(distances["one for all"]),
            "smallest without a value": min(distances["none"]),
            "largest error of the value": max(each[1] for each in found["per prompt"]),
            "regularised return": mean([each[2] for each in found["per prompt"]]),
            "of the optimum": mean([each[3] for each in found["per prompt"]]),
            "with one value": mean([each[2] for each in found["one for all"]]),
        },
        threshold=f"mean total variation < {CLOSE} on each of {SEEDS} seeds, of the baselines > {FAR}; value within {CLOSE}",
        holds=max(distances["per prompt"]) < CLOSE
        and max(each[1] for each in found["per prompt"]) < CLOSE
        and min(distances["one for all"] + distances["none"]) > FAR,
    )


def run(seed: int, values: str) -> tuple[float, float, float, float]:
    """(distance to the best policy, largest error of the value, regularised return, that of the best policy)."""
    random = generator(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    rewards = normal(PROMPTS, ANSWERS) + normal(PROMPTS, 1)
    rewards = (rewards - rewards.mean()) / rewards.std(correction=0)
    reference, behaviour = normal(PROMPTS, ANSWERS).log_softmax(-1), normal(PROMPTS, ANSWERS).softmax(-1)
    logits, value = reference.clone().requires_grad_(), zeros(*{"per prompt": (PROMPTS, 1), "one for all": (1, 1), "none": (1, 1)}[values])
    weights = behaviour.flatten() / PROMPTS

    def loss() -> Tensor:
        own = (value if values != "none" else value.detach()).expand(PROMPTS, ANSWERS).flatten()
        logps = logits.log_softmax(-1).flatten()
        return (weights * dro(logps, reference.flatten(), own, rewards.flatten(), tau=TAU)).sum()

    minimise([logits, value] if values != "none" else [logits], loss, steps=STEPS, learning_rate=0.05)
    policy = logits.detach().log_softmax(-1)
    best = (reference + rewards / TAU).log_softmax(-1)
    best_value = TAU * (reference + rewards / TAU).logsumexp(-1, keepdim=True)

    def regularised(logps: Tensor) -> float:
        return (logps.exp() * (rewards - TAU * (logps - reference))).sum(-1).mean().item()

    error = (value.detach() - best_value).abs().max().item()
    return total_variation(policy.exp(), best.exp()), error, regularised(policy), regularised(best)
