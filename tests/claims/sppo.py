"""SPPO (arXiv 2405.00675): the chosen goes up and the rejected down, and self-play nears the solution, on average.

The last iterate of self-play circles; what converges is the average of the policies.
"""

import numpy as np
import torch

from claims.kit import Claim, converge, minimise, zeros
from claims.worlds import crowd, crowd_logps
from preflow.losses.dpo import dpo
from preflow.losses.ipo import ipo
from preflow.losses.sppo import sppo, sppo_hard
from preflow.selection.games import duality_gap, policy_step
from preflow.selection.win_rates import bradley_terry_rewards

CIRCLE = [[0.5, 0.75, 0.125], [0.25, 0.5, 0.625], [0.875, 0.375, 0.5]]
SEEDS, STEPS, ROUNDS, ETA = 5, 600, 2000, 0.1
SAME_STEP, NEAR, CORNER = 0.005, 0.05, 0.25


def claim() -> Claim:
    ratios = {name: [crowded(seed, name) for seed in range(SEEDS)] for name in ("sppo", "dpo", "ipo")}
    up, down = min(a for a, _ in ratios["sppo"]), max(b for _, b in ratios["sppo"])
    pairwise = {name: max(a for a, _ in ratios[name]) for name in ("dpo", "ipo")}
    distance = max(distance_of_step(seed) for seed in range(SEEDS))
    average, last = self_play()
    corner = scalar_gap()
    return Claim(
        method="sppo",
        claim="The chosen's log-prob rises while the rejected's falls, and the average policy of self-play nears the solution of "
        "a circular preference.",
        baseline="DPO and IPO on the same pair (the chosen falls too); the policy of a Bradley-Terry reward",
        measured={
            "smallest change of the chosen": up,
            "largest change of the rejected": down,
            "largest change of the chosen, dpo": pairwise["dpo"],
            "largest change of the chosen, ipo": pairwise["ipo"],
            "largest distance of a trained step to the exact one": distance,
            "duality gap, average": average,
            "duality gap, last (not asserted)": last,
            "duality gap, Bradley-Terry": corner,
        },
        threshold=f"chosen > 0 > rejected on each of {SEEDS} seeds where dpo's and ipo's chosen < 0; step within {SAME_STEP}; "
        f"gap of the average < {NEAR}, Bradley-Terry's >= {CORNER}",
        holds=up > 0 > down
        and max(pairwise.values()) < 0
        and distance < SAME_STEP
        and average < NEAR
        and corner >= CORNER,
    )


def crowded(seed: int, name: str) -> tuple[float, float]:
    """Changes of log-prob of chosen and rejected, nearly the same answers of a crowd of 50."""
    features, theta = crowd(seed), zeros(8)
    one, start = torch.ones(1, dtype=torch.float64), [side.detach() for side in crowd_logps(features, zeros(8))]
    losses = {
        "sppo": lambda w, l: sppo_hard(w, l, *start, beta=0.1),  # noqa: E741
        "dpo": lambda w, l: dpo(w, l, *start, beta=0.1),  # noqa: E741
        "ipo": lambda w, l: ipo(w, l, *start, one, one, tau=0.1),  # noqa: E741
    }
    minimise([theta], lambda: losses[name](*crowd_logps(features, theta)).sum(), steps=STEPS, learning_rate=0.1)
    end = crowd_logps(features, theta.detach())
    return (end[0] - start[0]).item(), (end[1] - start[1]).item()


def distance_of_step(seed: int) -> float:
    """Total variation between the exact step and the loss' own, on a random game of 8 candidates at a small eta."""
    random = np.random.default_rng(seed)
    upper = np.triu(random.random((8, 8)), 1)
    matrix = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(8)
    policy = random.dirichlet(np.ones(8))
    won, reference = torch.tensor(matrix @ policy), torch.tensor(policy).log()
    logits, weights = reference.clone().requires_grad_(), torch.tensor(policy)

    def loss() -> torch.Tensor:
        logps = logits.log_softmax(-1)
        return (weights * sppo(logps, logps, reference, reference, won, won, eta=ETA)).sum()

    converge([logits], loss)
    return 0.5 * np.abs(logits.detach().softmax(-1).numpy() - policy_step(matrix, policy, 1 / ETA)).sum()


def self_play() -> tuple[float, float]:
    """Duality gaps of the average and of the last policy of exact self-play on the circle."""
    policy = total = np.full(3, 1 / 3)
    for _ in range(ROUNDS):
        policy = policy_step(CIRCLE, policy, 1 / ETA)
        total = total + policy
    return duality_gap(CIRCLE, total / total.sum()), duality_gap(CIRCLE, policy)


def scalar_gap() -> float:
    """The gap of the best policy by Bradley-Terry rewards: all mass on the highest."""
    return duality_gap(CIRCLE, np.eye(3)[np.argmax(bradley_terry_rewards(CIRCLE))])
