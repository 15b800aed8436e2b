"""SPO (arXiv 2401.04056): a policy rewarded by its win rate over its own recent samples nears the minimax winner.

The guarantee is the average policy's; the last iterate circles.
"""

import numpy as np
import torch

from claims.kit import Claim, generator, zeros
from preflow.losses.policy_gradient import reinforce
from preflow.selection.games import duality_gap, minimax_winners
from preflow.selection.queue import WinRateQueue
from preflow.selection.win_rates import bradley_terry_rewards

CIRCLE = [[0.5, 0.75, 0.125], [0.25, 0.5, 0.625], [0.875, 0.375, 0.5]]
SEEDS, STEPS, SAMPLES, QUEUE, LEARNING_RATE = 5, 6000, 4, 64, 0.03
NEAR, CORNER = 0.05, 0.25


def claim() -> Claim:
    averages, lasts = self_play()
    gaps = [duality_gap(CIRCLE, policy) for policy in averages]
    corner = duality_gap(CIRCLE, np.eye(3)[np.argmax(bradley_terry_rewards(CIRCLE))])
    distance = max(0.5 * np.abs(policy - minimax_winners(CIRCLE)[0]).sum() for policy in averages)
    return Claim(
        method="spo",
        claim="Self-play by win rates over a queue of recent samples nears the minimax winner of a circular preference.",
        baseline="a Bradley-Terry reward fitted to the same preference, whose best policy is one answer",
        measured={
            "largest duality gap, average policy": max(gaps),
            "largest distance to the minimax winner": distance,
            "largest duality gap, last policy (not asserted)": max(duality_gap(CIRCLE, policy) for policy in lasts),
            "duality gap, Bradley-Terry": corner,
        },
        threshold=f"gap of the average policy < {NEAR} on each of {SEEDS} seeds; Bradley-Terry's >= {CORNER}",
        holds=max(gaps) < NEAR and corner >= CORNER,
    )


def self_play() -> tuple[np.ndarray, np.ndarray]:
    """Average and last policies [SEEDS, 3] of REINFORCE on win rates over the queue; the seeds run side by side."""
    random = generator(0)
    logits = zeros(SEEDS, 3)
    queues = [WinRateQueue([seed % 3], QUEUE) for seed in range(SEEDS)]
    total = np.zeros((SEEDS, 3))
    optimizer = torch.optim.SGD([logits], lr=LEARNING_RATE)
    for _ in range(STEPS):
        logps = logits.log_softmax(-1)
        drawn = torch.multinomial(logps.detach().exp(), SAMPLES, replacement=True, generator=random)
        rewards = [
            [queue.reward(answer, lambda new, old: CIRCLE[new][old], signed=True) for answer in row]
            for queue, row in zip(queues, drawn.tolist(), strict=True)
        ]
        losses = reinforce(logps.gather(1, drawn).flatten(), torch.tensor(rewards, dtype=torch.float64).flatten())
        optimizer.zero_grad()
        (losses.sum() / SAMPLES).backward()
        optimizer.step()
        total += logps.detach().exp().numpy()
    return total / STEPS, logits.detach().softmax(-1).numpy()
