"""NPO (arXiv 2404.05868): it forgets, but its way to collapse is logarithmic in the steps where gradient ascent's is
linear, and what is to stay stays."""

from dataclasses import dataclass

import torch
from torch import Tensor

from claims.kit import Claim, generator, mean, minimise, zeros
from preflow.losses.likelihood import nll
from preflow.losses.npo import gradient_ascent, npo

SEEDS, FORGET, RETAIN, ANSWERS, WIDTH = 5, 8, 40, 12, 96
STEPS, LEARNING_RATE, BETA = 400, 0.02, 0.1
LINEAR, LOGARITHMIC = 3.0, 1.5
KEPT, FORGOTTEN = 0.2, 3.0


def claim() -> Claim:
    ascent, tempered = drift(0.0), drift(1.0)
    found = [{arm: run(seed, arm) for arm in ("ascent", "npo", "npo and retain")} for seed in range(SEEDS)]

    def nlls(arm: str, part: int) -> list[float]:
        return [each[arm][part] for each in found]

    forgotten = min(min(nlls(arm, 0)) for arm in ("ascent", "npo", "npo and retain"))
    order = all(e["npo and retain"][1] < KEPT and e["npo"][1] < e["ascent"][1] / 2 for e in found)
    return Claim(
        method="npo",
        claim="It forgets without collapse: the drift is logarithmic in the steps, and with a retain term what is to stay stays.",
        baseline="gradient ascent on the same completions",
        measured={
            "growth of the drift, steps 1000 to 4000": tempered,
            "growth of ascent's": ascent,
            "smallest NLL of the forgotten": forgotten,
            "NLL of the retained, npo with a retain term": mean(nlls("npo and retain", 1)),
            "NLL of the retained, npo": mean(nlls("npo", 1)),
            "NLL of the retained, ascent": mean(nlls("ascent", 1)),
        },
        threshold=f"drift grows by a factor < {LOGARITHMIC}, ascent's > {LINEAR}; forgotten NLL > {FORGOTTEN}; retained NLL < {KEPT} with "
        f"the term, and npo's below half of ascent's, on each of {SEEDS} seeds",
        holds=tempered < LOGARITHMIC and ascent > LINEAR and forgotten > FORGOTTEN and order,
    )


def drift(beta: float) -> float:
    """|logit| after 4000 steps over that after 1000, of one logistic parameter from 3; beta 0 is gradient ascent."""
    logit, seen = torch.tensor([3.0], dtype=torch.float64, requires_grad=True), {}
    reference = torch.nn.functional.logsigmoid(logit.detach())
    for step in range(1, 4001):
        logps = torch.nn.functional.logsigmoid(logit)
        loss = npo(logps, reference, beta=beta) if beta else gradient_ascent(logps)
        (slope,) = torch.autograd.grad(loss.sum(), logit)
        with torch.no_grad():
            logit -= 0.5 * slope
        seen[step] = abs(logit.item())
    return seen[4000] / seen[1000]


@dataclass(frozen=True)
class Memory:
    """Prompts with one right answer each, learned by a softmax that is linear in overlapping features [P, WIDTH]."""

    features: Tensor
    answers: Tensor

    def logps(self, theta: Tensor, part: slice) -> Tensor:
        """Log-probs of the right answers [P], nats."""
        logps = (self.features[part] @ theta).log_softmax(-1)
        return logps.gather(1, self.answers[part, None])[:, 0]


def run(seed: int, arm: str) -> tuple[float, float]:
    """NLLs (nats) of what is to be forgotten and of what is to stay, after unlearning."""
    random = generator(seed)
    features = torch.randn(FORGET + RETAIN, WIDTH, generator=random, dtype=torch.float64) / WIDTH**0.5 + 0.1
    memory = Memory(features, torch.randint(ANSWERS, (FORGET + RETAIN,), generator=random))
    forget, retain = slice(FORGET), slice(FORGET, None)
    theta = zeros(WIDTH, ANSWERS)
    minimise([theta], lambda: nll(memory.logps(theta, slice(None))).mean(), steps=300, learning_rate=0.1)
    reference = memory.logps(theta.detach(), forget)

    def loss() -> Tensor:
        logps = memory.logps(theta, forget)
        if arm == "ascent":
            return gradient_ascent(logps).mean()
        kept = nll(memory.logps(theta, retain)).mean() if arm == "npo and retain" else 0.0
        return npo(logps, reference, beta=BETA).mean() + kept

    minimise([theta], loss, steps=STEPS, learning_rate=LEARNING_RATE, decay=False)
    return tuple(nll(memory.logps(theta.detach(), part)).mean().item() for part in (forget, retain))
