"""SimPO (arXiv 2405.14734): the mean log-prob as the reward keeps preferred length from becoming longer and longer text."""

import torch
from torch import Tensor

from claims.kit import Claim, generator, mean, minimise
from preflow.losses.cpo import cpo
from preflow.losses.simpo import simpo

SEEDS, PAIRS, STEPS = 5, 400, 300
SHORT, LONG = 10, 14  # mean words of rejected and chosen completions: a length bias
RIGHT, LONGER = 0.8, 1.5


def claim() -> Claim:
    found = [{arm: run(seed, arm) for arm in ("mean", "sum")} for seed in range(SEEDS)]
    lengths = {arm: [each[arm][0] for each in found] for arm in ("mean", "sum")}
    good = {arm: [each[arm][1] for each in found] for arm in ("mean", "sum")}
    ratio = min(s / m for s, m in zip(lengths["sum"], lengths["mean"], strict=True))
    return Claim(
        method="simpo",
        claim="Where the chosen are longer as well as better, the mean log-prob per word learns what is better with less growth in "
        "length than the sum.",
        baseline="the same loss without length normalisation (CPO's contrastive term) at the same strength per completion",
        measured={
            "expected words, mean": mean(lengths["mean"]),
            "expected words, sum": mean(lengths["sum"]),
            "smallest ratio of lengths": ratio,
            "share of good words, mean": mean(good["mean"]),
            "share of good words, sum": mean(good["sum"]),
        },
        threshold=f"on each of {SEEDS} seeds: the sum's text is > {LONGER} times as long; share of good words > {RIGHT} with the mean",
        holds=ratio > LONGER and min(good["mean"]) > RIGHT,
    )


def run(seed: int, arm: str) -> tuple[float, float]:
    """(expected words of a completion, share of good words) after training a model of independent words: good, bad, end."""
    chosen, rejected = completions(seed, LONG, 0.6), completions(seed + 1000, SHORT, 0.4)
    start = torch.tensor([0.5, 0.5, 1 / SHORT], dtype=torch.float64)
    logits = start.log().requires_grad_()

    def loss() -> Tensor:
        logps = logits.log_softmax(-1)
        sides = chosen @ logps, rejected @ logps
        if arm == "sum":
            return cpo(*sides, beta=2.0 / SHORT).mean()
        return simpo(*sides, chosen.sum(1), rejected.sum(1), beta=2.0, gamma=1.0).mean()

    minimise([logits], loss, steps=STEPS, learning_rate=0.02)
    good, bad, end = logits.detach().softmax(-1).tolist()
    return 1 / end, good / (good + bad)


def completions(seed: int, words: float, good: float) -> Tensor:
    """Counts [PAIRS, 3] of good words, bad words and ends (one each) of random completions."""
    random = generator(seed)
    uniform = torch.rand(PAIRS, generator=random, dtype=torch.float64)
    lengths = 1 + (uniform.log() / torch.tensor(1 - 1 / words, dtype=torch.float64).log()).floor()
    goods = torch.binomial(lengths, torch.full_like(lengths, good), generator=random)
    return torch.stack([goods, lengths - goods, torch.ones_like(lengths)], 1)
