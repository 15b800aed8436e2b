"""RLHF (arXiv 1909.08593, 2203.02155): policy gradient on a learned reward with a KL penalty ends at the closed form."""

import torch
from torch import Tensor

from claims.kit import Claim, converge, generator, mean, total_variation, zeros
from preflow.losses.advantages import leave_one_out, shaped_rewards
from preflow.losses.policy_gradient import ppo_seq
from preflow.losses.reward_model import bradley_terry

SEEDS, RESPONSES, COMPARISONS = 5, 8, 600
STEPS, GROUPS, GROUP = 400, 64, 8
BETAS, FREE = (1.0, 3.0), 0.0
CLOSE, FAR, GAIN = 0.05, 0.2, 0.3


def claim() -> Claim:
    found = [run(seed) for seed in range(SEEDS)]

    def column(name: str) -> list[float]:
        return [each[name] for each in found]

    weak, strong = BETAS
    order = all(each[f"KL {FREE}"] > each[f"KL {weak}"] > each[f"KL {strong}"] for each in found)
    return Claim(
        method="rlhf",
        claim="Policy gradient on a reward learned from comparisons, less beta * KL, ends at reference * exp(reward / beta) / Z; a "
        "larger beta stays closer.",
        baseline="the same without the KL penalty, and the reference",
        measured={
            "largest distance to the optimum": max(column("distance")),
            "smallest distance without the penalty": min(column("free distance")),
            "gain in gold reward": mean(column("gain")),
            **{f"KL at beta {beta}": mean(column(f"KL {beta}")) for beta in (*BETAS, FREE)},
        },
        threshold=f"total variation < {CLOSE} at both betas on each of {SEEDS} seeds, > {FAR} without the penalty; KL falls as beta "
        f"rises; gold reward > the reference's + {GAIN} at beta {weak}",
        holds=max(column("distance")) < CLOSE
        and min(column("free distance")) > FAR
        and order
        and min(column("gain")) > GAIN,
    )


def run(seed: int) -> dict[str, float]:
    random = generator(seed)
    gold = torch.randn(RESPONSES, generator=random, dtype=torch.float64)
    reference = torch.randn(RESPONSES, generator=random, dtype=torch.float64).log_softmax(-1)
    reward = learned_reward(gold, random)
    policies = {beta: policy_gradient(reward, reference, beta, random) for beta in (*BETAS, FREE)}
    optima = {beta: (reference + reward / beta).softmax(-1) for beta in BETAS}
    kls = {f"KL {beta}": (p * (p.log() - reference)).sum().item() for beta, p in policies.items()}
    return {
        "distance": max(total_variation(policies[beta], optima[beta]) for beta in BETAS),
        "free distance": min(total_variation(policies[FREE], optima[beta]) for beta in BETAS),
        "gain": ((policies[BETAS[0]] - reference.exp()) @ gold).item(),
        **kls,
    }


def learned_reward(gold: Tensor, random: torch.Generator) -> Tensor:
    """Rewards fitted to COMPARISONS noisy comparisons of random pairs, centred."""
    two = torch.rand(COMPARISONS, RESPONSES, generator=random).argsort(1)[:, :2]
    gap = gold[two[:, 0]] - gold[two[:, 1]]
    first = torch.rand(COMPARISONS, generator=random, dtype=torch.float64) < gap.sigmoid()
    chosen = torch.where(first, two[:, 0], two[:, 1])
    rejected = two.sum(1) - chosen
    rewards = zeros(RESPONSES)
    converge([rewards], lambda: bradley_terry(rewards[chosen], rewards[rejected], center=1e-4).mean())
    return rewards.detach()


def policy_gradient(reward: Tensor, reference: Tensor, beta: float, random: torch.Generator) -> Tensor:
    """The policy [RESPONSES] after STEPS of leave-one-out policy gradient on its own samples."""
    logits = reference.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    mask = torch.ones(GROUPS * GROUP, 1, dtype=torch.bool)
    for step in range(STEPS):
        logps = logits.log_softmax(-1)
        drawn = torch.multinomial(logps.detach().exp(), GROUPS * GROUP, replacement=True, generator=random)
        sampler = logps.detach()[drawn]
        shaped = shaped_rewards(sampler[:, None], reference[drawn][:, None], reward[drawn], mask, beta=beta)
        advantages = leave_one_out(shaped.sum(1).view(GROUPS, GROUP)).flatten()
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / STEPS)
        optimizer.zero_grad()
        ppo_seq(logps[drawn], sampler, advantages).mean().backward()
        optimizer.step()
    return logits.detach().softmax(-1)
