"""D2O (arXiv 2403.03419): with bad completions alone, samples of the model itself hold the good ones in place."""

from dataclasses import dataclass

import torch
from torch import Tensor

from claims.kit import Claim, generator, mean, minimise, zeros
from preflow.losses.d2o import d2o
from preflow.losses.likelihood import nll
from preflow.losses.npo import gradient_ascent

SEEDS, PROMPTS, ANSWERS, GOOD, BAD, WIDTH = 5, 12, 24, 4, 2, 48
STEPS, LEARNING_RATE, SAMPLES = 200, 0.05, 11
ARMS = ("d2o", "one sample", "ascent")
COLLAPSED, SAFE = -20.0, 0.05


def claim() -> Claim:
    found = [run(seed) for seed in range(SEEDS)]
    kept = {arm: [each[arm]["good"] for each in found] for arm in ("start", *ARMS)}
    bad = {arm: [each[arm]["bad"] for each in found] for arm in ("start", *ARMS)}
    order = all(each["d2o"]["good"] > each["one sample"]["good"] > each["ascent"]["good"] for each in found)
    return Claim(
        method="d2o",
        claim=f"From bad completions alone, {SAMPLES} samples of the model itself per prompt keep the good ones likely.",
        baseline="gradient ascent on the bad completions, and one sample instead (DPO with a sample as the chosen)",
        measured={f"log-prob of a good one, {arm}": mean(values) for arm, values in kept.items()}
        | {f"share of bad ones, {arm}": mean(values) for arm, values in bad.items()},
        threshold=f"ascent's good ones < {COLLAPSED}; d2o > one sample > ascent on each of {SEEDS} seeds; share of bad ones < {SAFE} "
        "in all three",
        holds=order and max(kept["ascent"]) < COLLAPSED and max(max(bad[arm]) for arm in ARMS) < SAFE,
    )


@dataclass(frozen=True)
class Answers:
    """Features [PROMPTS, ANSWERS, WIDTH]; the first GOOD answers of a prompt are good, the next BAD are bad, the rest is
    no answer. Answers that fit the prompt have a part of their features in common, and so have the bad ones of all."""

    features: Tensor

    @classmethod
    def draw(cls, random: torch.Generator) -> "Answers":
        features = torch.randn(PROMPTS, ANSWERS, WIDTH, generator=random, dtype=torch.float64)
        features[:, : GOOD + BAD] += 0.7 * torch.randn(WIDTH, generator=random, dtype=torch.float64)
        features[:, GOOD : GOOD + BAD] += 0.7 * torch.randn(WIDTH, generator=random, dtype=torch.float64)
        return cls(features / WIDTH**0.5)

    def logps(self, theta: Tensor) -> Tensor:
        return (self.features @ theta).log_softmax(-1)


def run(seed: int) -> dict[str, dict[str, float]]:
    """By arm: mean log-prob (nats) of the good answers, and the bad ones' share of the policy."""
    random = generator(seed)
    answers = Answers.draw(random)
    start = zeros(WIDTH)
    minimise([start], lambda: fitted(answers.logps(start)), steps=300, learning_rate=0.1)
    reference = answers.logps(start.detach())
    steered = reference[:, :GOOD].exp()  # samples are asked to be harmless, as in the paper: here, drawn from the good
    drawn = torch.multinomial(steered, SAMPLES, replacement=True, generator=random)
    found = {"start": summary(reference)}
    for arm in ARMS:
        theta = start.detach().clone().requires_grad_()
        minimise(
            [theta],
            lambda: loss(arm, answers.logps(theta), reference, drawn),  # noqa: B023
            steps=STEPS,
            learning_rate=LEARNING_RATE,
            decay=False,
        )
        found[arm] = summary(answers.logps(theta.detach()))
    return found


def fitted(logps: Tensor) -> Tensor:
    """The supervised loss of a model that is half bad."""
    good, bad = logps[:, :GOOD].flatten(), logps[:, GOOD : GOOD + BAD].flatten()
    return (nll(good).mean() + nll(bad).mean()) / 2


def loss(arm: str, logps: Tensor, reference: Tensor, drawn: Tensor) -> Tensor:
    """Mean over every prompt's bad answers."""
    bad, bad_reference = (each[:, GOOD : GOOD + BAD].flatten() for each in (logps, reference))
    if arm == "ascent":
        return gradient_ascent(bad).mean()
    drawn = drawn if arm == "d2o" else drawn[:, :1]
    own, own_reference = (each.gather(1, drawn).repeat_interleave(BAD, 0) for each in (logps, reference))
    return d2o(own, bad, own_reference, bad_reference).mean()


def summary(logps: Tensor) -> dict[str, float]:
    bad = logps[:, GOOD : GOOD + BAD].exp().sum(1).mean().item()
    return {"good": logps[:, :GOOD].mean().item(), "bad": bad}
