"""How much of held-out scores a policy and its value network explain together: delta = r - V(prompt) - tau * log-ratio."""

import numpy as np
import torch

from preflow.models.packing import cut_by_tokens, pack
from preflow.models.values import ValueNetwork
from preflow.training.reference import prompt_groups
from preflow.training.streams import SequenceStore


@torch.no_grad()
def prompt_values(
    network: ValueNetwork, store: SequenceStore, micro_batch_tokens: int, device: torch.device
) -> np.ndarray:
    """[S] the value of every sequence's prompt, in units of the standardised score."""
    found = np.zeros(len(store))
    for groups in cut_by_tokens(prompt_groups(store, np.arange(len(store)), micro_batch_tokens), micro_batch_tokens):
        packed = pack(groups).to(device)
        found[list(packed.indices)] = network(packed).double().cpu().numpy()
    return found


def residual_numbers(scores: np.ndarray, values: np.ndarray, ratios: np.ndarray, strength: float) -> dict[str, float]:
    """From standardised scores [N], values [N] and log-ratios [N] nats: the root mean square of delta, and the share of the
    scores' variance that is explained, 1 - Var(delta) / Var(r) (none where the scores do not differ)."""
    residuals = scores - values - strength * ratios
    numbers = {"eval/residual": float(np.sqrt((residuals**2).mean()))}
    if scores.var() > 0:
        numbers["eval/explained_variance"] = float(1 - residuals.var() / scores.var())
    return numbers
