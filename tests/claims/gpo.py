"""GPO (arXiv 2402.05749): every function of the family trades reward for KL alike; only the scale of beta differs.

(One of the paper's functions, Savage's, is not convex, so the paper's condition does not cover it. It is in the test.)
"""

import math

import torch

from claims.kit import Claim, at_kl, converge, minimise, zeros
from claims.worlds import Bandit
from preflow.losses.gpo import FUNCTIONS, Function, gpo

SEEDS, STEPS = 5, 250
GRID: dict[Function, tuple[float, ...]] = {
    "logistic": (0.2, 0.4, 0.7, 1.2, 2.0, 4.0),
    "hinge": (0.4, 0.8),
    "squared": (0.2, 0.4),
    "exponential": (0.2, 0.4),
    "truncated_quadratic": (0.2, 0.4),
    "savage": (0.4, 0.8),
}
ON_FRONTIER, SPREAD, EXACT = 0.05, 0.3, 1e-4


def claim() -> Claim:
    found = [frontiers(seed) for seed in range(SEEDS)]
    away = {name: max(each[0][name] for each in found) for name in FUNCTIONS if name != "logistic"}
    spread = min(each[1] for each in found)
    minimisers = max(minimiser_error(probability) for probability in (0.6, 0.75, 0.9))
    return Claim(
        method="gpo",
        claim="At equal KL all functions of the family reach the same reward; exponential at beta is logistic at 2 beta.",
        baseline="the frontier of DPO (the logistic function) over beta, and the same beta for every function",
        measured={f"largest distance to the frontier, {name}": value for name, value in away.items()}
        | {
            "smallest ratio of KLs at one beta": spread,
            "largest error of a population minimiser": minimisers,
        },
        threshold=f"reward at equal KL within {ON_FRONTIER} of DPO's gain for each function on each of {SEEDS} seeds; KLs at one "
        f"beta differ by more than a share of {SPREAD}; minimisers within {EXACT} of log-odds, half of it for exponential",
        holds=max(away.values()) < ON_FRONTIER and spread > 1 + SPREAD and minimisers < EXACT,
    )


def frontiers(seed: int) -> tuple[dict[str, float], float]:
    """The largest distance to logistic's frontier by function, as a share of the gain there; and the ratio of the
    largest to the smallest KL of all functions at beta = 0.4."""
    bandit = Bandit.draw(seed, prompts=16, responses=8)
    pairs = bandit.pairs(seed, 600)
    points: dict[str, dict[float, tuple[float, float]]] = {}
    for name, grid in GRID.items():
        points[name] = {}
        for beta in grid:
            theta = zeros(bandit.features.shape[-1])
            minimise(
                [theta],
                lambda: bandit.pair_loss(theta, pairs, lambda *sides: gpo(*sides, beta=beta, f=name)).mean(),  # noqa: B023
                steps=STEPS,
                learning_rate=0.3,
            )
            points[name][beta] = bandit.kl(theta), bandit.reward(theta)
    start = bandit.reward(zeros(bandit.features.shape[-1]))
    frontier = [(0.0, start), *points["logistic"].values()]
    away = {}
    for name in GRID:
        gaps = [
            abs(reward - at_kl(frontier, kl)) / (at_kl(frontier, kl) - start) for kl, reward in points[name].values()
        ]
        away[name] = max(gaps)
    kls = [points[name][0.4][0] for name in GRID]
    return away, max(kls) / min(kls)


def minimiser_error(probability: float) -> float:
    """How far the minimisers of p f(x) + (1 - p) f(-x) are from their closed forms, for the functions that have one
    beyond the squares: log-odds for logistic and Savage, half of it for exponential. x is beta * h with beta = 1."""
    log_odds = math.log(probability / (1 - probability))
    errors = []
    nothing = torch.zeros(1, dtype=torch.float64)
    for name, expected in (("logistic", log_odds), ("savage", log_odds), ("exponential", log_odds / 2)):
        x = zeros(1)

        def population(x=x, name=name) -> torch.Tensor:
            right = gpo(x, nothing, nothing, nothing, beta=1.0, f=name)
            wrong = gpo(-x, nothing, nothing, nothing, beta=1.0, f=name)
            return (probability * right + (1 - probability) * wrong).sum()

        converge([x], population)
        errors.append(abs(x.item() - expected))
    return max(errors)
