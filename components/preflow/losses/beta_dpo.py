"""beta-DPO: DPO with one beta per batch, that follows the batch's gap, over the pairs whose gap is not an outlier.

    A_i = gap_scale * h_i, without gradient;  gap_mean, gap_std: moving averages of its mean and deviation over batches
    weights w_i = exp(-(A_i - gap_mean)^2 / (2 gap_std^2)); int(B * keep_ratio) pairs are drawn by them, without replacement
    beta_b = max(min_beta, beta * (1 + alpha * (mean of A over the kept - gap_mean)))
    L = mean over the kept of -log sigmoid(beta_b * h_i)

Wu et al. 2024, arXiv 2407.08639, and the order of the official code: the batch enters the averages before they are used.
The code's "batch" is the gathered micro-batch; here it is the optimizer batch, as in the paper.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from preflow.losses.coupled import Coupled
from preflow.losses.logps import check_same_shape, logistic, margin

NO_SPREAD = 1e-8  # nats: a gap_std below it says nothing, as before the first step, where every gap is 0


def beta_dpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    state: Mapping[str, float],
    draws: Tensor,
    *,
    beta: float = 0.1,
    alpha: float = 0.6,
    keep_ratio: float = 0.8,
    momentum: float = 0.9,
    min_beta: float = 1e-3,
    gap_scale: float = 1.0,
    start: Literal["zero", "first_batch"] = "zero",
) -> Coupled:
    """The losses [B] at the batch's beta, with weight 1 for a kept pair and 0 for one left out.

    Args:
        policy_chosen_logps, policy_rejected_logps: [B] nats, see `preflow.losses.logps`.
        reference_chosen_logps, reference_rejected_logps: [B] nats.
        state: `gap_mean` and `gap_std` (nats * gap_scale) from before this batch; empty at the first.
        draws: [B] uniforms in [0, 1), one per pair.
        beta: > 0; the paper's beta_0, 0.1.
        alpha: >= 0; how strongly beta follows the gap, 0.6 in the official README. 0 is a fixed beta.
        keep_ratio, momentum: in (0, 1] and [0, 1); the paper's rho, 0.8 (1 keeps every pair), and m, 0.9.
        min_beta: > 0; 1e-3, the official code's.
        gap_scale: > 0; 1 for raw log-ratios (the official code's unit), beta for rewards (the paper's symbol).
        start: averages from 0 (the official code), or from the first batch's own numbers; see `updated_averages`.

    Metrics: gap_mean, gap_std, batch_gap (mean of A over the kept), beta (beta_b), kept (share of the pairs).

    Before the first step every gap is 0, there is no spread, and the pairs to keep are drawn uniformly:

    >>> zero = torch.zeros(4)
    >>> found = beta_dpo(zero, zero, zero, zero, {}, torch.tensor([0.1, 0.9, 0.5, 0.3]), keep_ratio=0.5)
    >>> found.losses, found.weights
    (tensor([0.6931, 0.6931, 0.6931, 0.6931]), tensor([0., 1., 1., 0.]))
    """
    check_same_shape(policy_chosen_logps=policy_chosen_logps, draws=draws)
    h = margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    gaps = gap_scale * h.detach().double()
    new = updated_averages(state, gaps, momentum=momentum, start=start)
    log_weights = filter_log_weights(gaps, new["gap_mean"], new["gap_std"])
    kept = drawn(log_weights, gumbels(draws), kept_count(len(gaps), keep_ratio))
    batch_gap = gaps[kept].mean().item()
    strength = batch_beta(batch_gap, new["gap_mean"], beta=beta, alpha=alpha, min_beta=min_beta)
    weights = torch.zeros_like(h).index_fill(0, kept, 1.0)
    metrics = {**new, "batch_gap": batch_gap, "beta": strength, "kept": len(kept) / len(gaps)}
    return Coupled(logistic(strength * h), weights, new, metrics)


def updated_averages(
    state: Mapping[str, float], gaps: Tensor, *, momentum: float = 0.9, start: Literal["zero", "first_batch"] = "zero"
) -> dict[str, float]:
    """gap_mean and gap_std after a batch of gaps [B]. The deviation is the unbiased one; a single pair has none, and
    leaves gap_std as it was.

    From 0, as the official code starts, they are 1 - momentum^t of the truth after t batches: beta is high and the
    weights are peaked at first.

    >>> updated_averages({"gap_mean": 1.0, "gap_std": 1.0}, torch.tensor([1.0, 3.0]), momentum=0.5)["gap_mean"]
    1.5
    """
    mean = gaps.mean().item()
    if not state and start == "first_batch":
        return {"gap_mean": mean, "gap_std": gaps.std().item() if len(gaps) > 1 else 0.0}
    old_mean, old_std = state.get("gap_mean", 0.0), state.get("gap_std", 0.0)
    std = gaps.std().item() if len(gaps) > 1 else old_std
    return {
        "gap_mean": momentum * old_mean + (1 - momentum) * mean,
        "gap_std": momentum * old_std + (1 - momentum) * std,
    }


def filter_log_weights(gaps: Tensor, gap_mean: float, gap_std: float) -> Tensor:
    """log w, [B]: 0 at gap_mean, below it elsewhere; all 0 (uniform) where there is no spread. Logs do not underflow.

    >>> filter_log_weights(torch.tensor([1.0, 3.0]), 1.0, 2.0).exp()
    tensor([1.0000, 0.6065])
    """
    if gap_std < NO_SPREAD:
        return torch.zeros_like(gaps)
    return -0.5 * ((gaps - gap_mean) / gap_std).square()


def gumbels(draws: Tensor) -> Tensor:
    """Gumbel(0, 1) variables [B], float64, from uniforms in [0, 1)."""
    return -(-draws.double().clamp(min=torch.finfo(torch.float64).tiny).log()).log()


def kept_count(batch: int, keep_ratio: float) -> int:
    """floor(batch * keep_ratio) in decimals, at least one: the official code takes the mean of nothing instead.

    >>> kept_count(64, 0.8), kept_count(1, 0.8), kept_count(50, 0.58)
    (51, 1, 29)
    """
    return max(1, int(batch * Fraction(str(keep_ratio))))


def drawn(log_weights: Tensor, noise: Tensor, count: int) -> Tensor:
    """Places of the `count` largest log w + Gumbel, largest first: successive draws without replacement by w.

    >>> drawn(torch.tensor([0.9, 0.5, 0.1, 0.01]).log(), torch.tensor([0.1, 0.9, 2.5, 5.0]), 2).tolist()
    [3, 1]
    """
    return (log_weights.double() + noise.double()).argsort(descending=True, stable=True)[:count]


def batch_beta(batch_gap: float, gap_mean: float, *, beta: float, alpha: float, min_beta: float) -> float:
    """max(min_beta, beta * (1 + alpha * (batch_gap - gap_mean))): a larger gap than usual makes the step more cautious.

    >>> round(batch_beta(3.0, 2.0, beta=0.1, alpha=0.6, min_beta=1e-3), 6)
    0.16
    """
    return max(min_beta, beta * (1 + alpha * (batch_gap - gap_mean)))
