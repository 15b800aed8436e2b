"""Online DPO (arXiv 2402.04792): judging the policy's own samples finds what the initial model hardly ever writes."""

import torch
from torch import Tensor

from claims.kit import Claim, at_kl, generator, mean
from preflow.losses.dpo import dpo

SEEDS, ANSWERS, STEPS, BATCH = 5, 40, 300, 16
BETA, GRID = 0.3, (0.1, 0.2, 0.3, 0.5)
GAIN = 0.2


def claim() -> Claim:
    found = [run(seed) for seed in range(SEEDS)]
    ahead = [each["online"] - each["offline"] for each in found]
    ahead_at_kl = [each["online"] - each["offline, same KL"] for each in found]
    return Claim(
        method="online_dpo",
        claim="With as many judgments, pairs sampled from the current policy end at a higher reward than pairs sampled once from the "
        "initial one.",
        baseline="DPO on as many pairs of the initial model, at the same beta and at the same KL",
        measured={
            "gold reward, online": mean([each["online"] for each in found]),
            "offline, same beta": mean([each["offline"] for each in found]),
            "offline, same KL": mean([each["offline, same KL"] for each in found]),
            "KL, online": mean([each["KL"] for each in found]),
            "smallest advantage, same beta": min(ahead),
            "smallest advantage, same KL": min(ahead_at_kl),
        },
        threshold=f"gold reward higher by > {GAIN} on each of {SEEDS} seeds, at the same beta and at the same KL",
        holds=min(ahead) > GAIN and min(ahead_at_kl) > GAIN,
    )


def run(seed: int) -> dict[str, float]:
    """Answers whose reward and initial probability run against each other: the best ones are rare."""
    random = generator(seed)
    gold = 1.5 * torch.randn(ANSWERS, generator=random, dtype=torch.float64)
    reference = (-1.0 * gold + 0.5 * torch.randn(ANSWERS, generator=random, dtype=torch.float64)).log_softmax(-1)
    online = trained(gold, reference, seed, BETA, online=True)
    offline = {beta: trained(gold, reference, seed, beta, online=False) for beta in GRID}
    points = [(0.0, (reference.exp() @ gold).item()), *offline.values()]
    return {
        "KL": online[0],
        "online": online[1],
        "offline": offline[BETA][1],
        "offline, same KL": at_kl(points, online[0]),
    }


def trained(gold: Tensor, reference: Tensor, seed: int, beta: float, *, online: bool) -> tuple[float, float]:
    """(KL to the reference, gold reward) after STEPS batches of judged pairs from the policy or from the reference."""
    random = generator(seed)
    logits = reference.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for step in range(STEPS):
        logps = logits.log_softmax(-1)
        sampler = (logps.detach() if online else reference).exp()
        two = torch.multinomial(sampler.expand(BATCH, -1), 2, generator=random)
        gap = gold[two[:, 0]] - gold[two[:, 1]]
        first = torch.rand(BATCH, generator=random, dtype=torch.float64) < gap.sigmoid()
        chosen = torch.where(first, two[:, 0], two[:, 1])
        rejected = two.sum(1) - chosen
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / STEPS)
        optimizer.zero_grad()
        dpo(logps[chosen], logps[rejected], reference[chosen], reference[rejected], beta=beta).mean().backward()
        optimizer.step()
    policy = logits.detach().log_softmax(-1)
    return (policy.exp() * (policy - reference)).sum().item(), (policy.exp() @ gold).item()
