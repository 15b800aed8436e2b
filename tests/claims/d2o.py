"""D2O (arXiv 2403.03419): with bad completions alone, samples of the model itself hold the good ones in place."""

import torch
from torch import Tensor

from claims.kit import Claim, mean, minimise
from claims.language import PROMPTS, Language, Texts, memorised
from preflow.losses.d2o import d2o
from preflow.losses.npo import gradient_ascent

SEEDS, GOOD, BAD, SAMPLES = 5, 4, 2, 11
STEPS, LEARNING_RATE = 100, 0.01
ARMS = ("d2o", "one sample", "ascent")
COLLAPSED, SAFE = -20.0, 0.05


def claim() -> Claim:
    found = [run(seed) for seed in range(SEEDS)]
    kept = {arm: [each[arm][0] for each in found] for arm in ("start", *ARMS)}
    bad = {arm: [each[arm][1] for each in found] for arm in ("start", *ARMS)}
    order = all(each["d2o"][0] > each["one sample"][0] > each["ascent"][0] for each in found)
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


def run(seed: int) -> dict[str, tuple[float, float]]:
    """By arm: mean log-prob (nats) of the good completions, and the bad ones' share of the policy."""
    language = Language(seed)

    def written(count: int) -> Texts:
        """`count` completions of every prompt, those of one prompt side by side."""
        return language.texts(torch.arange(PROMPTS).repeat_interleave(count), language.write(PROMPTS * count))

    good, bad = written(GOOD), written(BAD)
    reference = memorised(good, bad)
    # Samples are asked to be harmless, as in the paper: here, they are drawn from the good ones.
    likely = good.logps(reference).view(PROMPTS, GOOD).exp()
    drawn = torch.multinomial(likely, SAMPLES, replacement=True, generator=language.random)
    found = {"start": summary(good, bad, reference)}
    for arm in ARMS:
        theta = reference.clone().requires_grad_()
        minimise(
            [theta],
            lambda: loss(arm, good, bad, theta, reference, drawn),  # noqa: B023
            steps=STEPS,
            learning_rate=LEARNING_RATE,
            decay=False,
        )
        found[arm] = summary(good, bad, theta.detach())
    return found


def loss(arm: str, good: Texts, bad: Texts, theta: Tensor, reference: Tensor, drawn: Tensor) -> Tensor:
    """Mean over the bad completions."""
    if arm == "ascent":
        return gradient_ascent(bad.logps(theta)).mean()
    drawn = drawn if arm == "d2o" else drawn[:, :1]
    own, own_reference = (
        good.logps(each).view(PROMPTS, GOOD).gather(1, drawn).repeat_interleave(BAD, 0) for each in (theta, reference)
    )
    return d2o(own, bad.logps(theta), own_reference, bad.logps(reference)).mean()


def summary(good: Texts, bad: Texts, theta: Tensor) -> tuple[float, float]:
    share = bad.logps(theta).view(PROMPTS, BAD).exp().sum(1).mean().item()
    return good.logps(theta).mean().item(), share
