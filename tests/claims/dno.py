"""DNO (arXiv 2404.03715): the regression reaches the soft policy step, which beats the policy it started from.

It is no monotone improvement against a third policy: preferences that run in a circle let every round beat the one
before, and the distance to the solution rise. That share is recorded, not asserted.
"""

import numpy as np
import torch

from claims.kit import Claim, converge
from preflow.losses.dno import dno
from preflow.losses.dpo import dpo
from preflow.selection.games import duality_gap, kl_divergence, policy_step, win_probability

SEEDS, GAMES, CANDIDATES, ROUNDS, BETA = 5, 500, 6, 3, 0.2
CLOSE, FAR, SLACK = 1e-3, 0.05, 1e-12


def claim() -> Claim:
    violations, worse = exact_steps()
    rounds = [learned_rounds(seed) for seed in range(SEEDS)]
    distance = max(each[0] for each in rounds)
    won = min(each[1] for each in rounds)
    hard = min(each[2] for each in rounds)
    return Claim(
        method="dno",
        claim="Fitting the margin to the difference of win rates makes the soft policy step of a general preference, and that "
        "step beats its predecessor by at least beta * KL.",
        baseline="DPO on the same pairs with hard labels, and the predecessor itself",
        measured={
            "largest distance to the exact step": distance,
            "DPO's smallest": hard,
            "smallest win rate over the predecessor": won,
            f"violations in {GAMES} random games": violations,
            "share of exact steps further from the solution (not asserted)": worse,
        },
        threshold=f"total variation < {CLOSE} and win rate > 1/2 in each of {ROUNDS} rounds on {SEEDS} seeds, DPO's > {FAR}; "
        "no violation of 1/2 + beta * KL",
        holds=violations == 0 and distance < CLOSE and won > 0.5 and hard > FAR,
    )


def game(random: np.random.Generator) -> np.ndarray:
    """A random preference matrix, mostly intransitive."""
    upper = np.triu(random.random((CANDIDATES, CANDIDATES)), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(CANDIDATES)


def exact_steps() -> tuple[int, float]:
    """How many exact steps win less than 1/2 + beta * KL, and the share after which the duality gap is larger."""
    random, violations, worse = np.random.default_rng(0), 0, 0
    for _ in range(GAMES):
        matrix, policy = game(random), random.dirichlet(np.ones(CANDIDATES))
        new = policy_step(matrix, policy, BETA)
        bound = 0.5 + BETA * kl_divergence(new, policy)
        violations += win_probability(matrix, new, policy) < bound - SLACK
        worse += duality_gap(matrix, new) > duality_gap(matrix, policy)
    return violations, worse / GAMES


def learned_rounds(seed: int) -> tuple[float, float, float]:
    """Of ROUNDS rounds: the largest distance to the exact step, the smallest win rate, DPO's smallest distance."""
    random = np.random.default_rng(seed)
    matrix, policy = game(random), np.full(CANDIDATES, 1 / CANDIDATES)
    distances, won, hard = [], [], []
    for _ in range(ROUNDS):
        exact, new = policy_step(matrix, policy, BETA), step_by_loss(matrix, policy, soft=True)
        distances.append(0.5 * np.abs(new - exact).sum())
        hard.append(0.5 * np.abs(step_by_loss(matrix, policy, soft=False) - exact).sum())
        won.append(win_probability(matrix, new, policy))
        policy = new
    return max(distances), min(won), min(hard)


def step_by_loss(matrix: np.ndarray, policy: np.ndarray, *, soft: bool) -> np.ndarray:
    """The next policy from the loss over all pairs of candidates, the higher win rate first."""
    rewards = torch.tensor(matrix @ policy)
    reference = torch.tensor(policy).log()
    first, second = torch.triu_indices(CANDIDATES, CANDIDATES, offset=1)
    chosen = torch.where(rewards[first] >= rewards[second], first, second)
    rejected = first + second - chosen
    logits = reference.clone().requires_grad_()

    def loss() -> torch.Tensor:
        logps = logits.log_softmax(-1)
        sides = logps[chosen], logps[rejected], reference[chosen], reference[rejected]
        if soft:
            return dno(*sides, rewards[chosen], rewards[rejected], beta=BETA).mean()
        return dpo(*sides, beta=BETA).mean()

    converge([logits], loss)
    return logits.detach().softmax(-1).numpy()
