"""IPO (arXiv 2310.12036): a certain preference has a finite margin, so the reference keeps its say."""

import torch
from torch import Tensor

from claims.kit import Claim, minimise, zeros
from preflow.losses.dpo import dpo
from preflow.losses.ipo import ipo

STRENGTHS, EARLY, LATE = (0.1, 0.5, 1.0), 500, 3000
EXACT, GROWTH = 1e-3, 1.5


def claim() -> Claim:
    measured: dict[str, float] = {}
    holds = True
    for strength in STRENGTHS:
        finite, growing = margins(strength)
        measured |= {
            f"ipo margin, tau {strength}, step {LATE}": finite[LATE],
            f"dpo margin, beta {strength}, step {EARLY}": growing[EARLY],
            f"dpo margin, beta {strength}, step {LATE}": growing[LATE],
        }
        holds &= abs(finite[LATE] - 1 / (2 * strength)) < EXACT and growing[LATE] > GROWTH * growing[EARLY]
    return Claim(
        method="ipo",
        claim="Where one of two responses always wins, the margin stops at 1 / (2 tau), and so does the policy.",
        baseline="DPO on the same pair with beta = tau: its margin grows as long as it is trained",
        measured=measured,
        threshold=f"|margin - 1 / (2 tau)| < {EXACT} for each tau; DPO's margin at step {LATE} > {GROWTH} times step {EARLY}'s",
        holds=holds,
    )


def margins(strength: float) -> tuple[dict[int, float], dict[int, float]]:
    """Margins (nats) of IPO and DPO after EARLY and LATE steps of Adam, two responses, uniform reference."""
    reference = torch.full((1,), 0.5, dtype=torch.float64).log()
    one = torch.ones(1, dtype=torch.float64)
    found = []
    for loss in (
        lambda w, l: ipo(w, l, reference, reference, one, one, tau=strength),  # noqa: E741
        lambda w, l: dpo(w, l, reference, reference, beta=strength),  # noqa: E741
    ):
        by_step = {}
        for steps in (EARLY, LATE):
            logits = zeros(2)
            minimise([logits], lambda: loss(*sides(logits)).sum(), steps=steps, learning_rate=0.03, decay=False)  # noqa: B023
            by_step[steps] = (logits[0] - logits[1]).item()
        found.append(by_step)
    return found[0], found[1]


def sides(logits: Tensor) -> tuple[Tensor, Tensor]:
    logps = logits.log_softmax(-1)
    return logps[:1], logps[1:]
