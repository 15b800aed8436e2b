"""What a training step says about itself, in the same words for every method."""

from collections.abc import Mapping

import numpy as np
import torch

from preflow.losses.logps import accuracy
from preflow.training.gradient import StepResult, Values
from preflow.training.streams import Stream


def step_metrics(
    result: StepResult,
    streams: Mapping[str, Stream],
    batch: Mapping[str, np.ndarray],
    quantities: tuple[str, ...],
    beta: float,
) -> dict[str, float]:
    """Means over the optimizer batch; reward accuracy counts a tie half. Log-probs in nats, margins in beta * nats, or log-odds."""
    values = {"train/loss": result.loss, **{f"train/{name}": value for name, value in result.metrics.items()}}
    for name, numbers in batch.items():
        stream, found = streams[name], result.values[name]
        prefix = "train/" if len(batch) == 1 or name == next(iter(batch)) else f"train/{name}_"
        seen = {role: each[numbers] for role, each in stream.roles.items() if _is_in(each[numbers], found)}
        for place, quantity in enumerate(quantities):
            for role, sequences in seen.items():
                values[f"{prefix}{role}_{quantity}"] = float(_of(found, sequences, place).mean())
        ratios = {
            role: _of(found, each, 0) - stream.reference_of(role)[each]
            for role, each in seen.items()
            if stream.references.get(role, "reference") in stream.reference_logps and quantities[0] == "logps"
        }
        values |= {f"{prefix}{role}_log_ratio": float(each.mean()) for role, each in ratios.items()}
        margins = ratios["chosen"] - ratios["rejected"] if {"chosen", "rejected"} <= set(ratios) else None
        if "rewards" in quantities:
            margins, beta = _reward_margins(stream, numbers, found, quantities.index("rewards")), 1.0
        if margins is not None:
            values[f"{prefix}reward_accuracy"] = float(accuracy(torch.from_numpy(margins)).mean())
            values[f"{prefix}reward_margin"] = float(beta * margins.mean())
    return values


def _reward_margins(stream: Stream, numbers: np.ndarray, found: Values, place: int) -> np.ndarray:
    """By how much a reward model prefers the side that was chosen, [B] log-odds: of two rewards, or of one comparison."""
    if "comparison" in stream.roles:
        signs = 2 * np.asarray(stream.columns["first_wins"][numbers], dtype=np.float64) - 1
        return signs * _of(found, stream.roles["comparison"][numbers], place)
    chosen, rejected = (_of(found, stream.roles[role][numbers], place) for role in ("chosen", "rejected"))
    return chosen - rejected


def _is_in(sequences: np.ndarray, found: Values) -> bool:
    """Whether the objective asked for this role: a stream may have roles that no loss takes."""
    return bool(sequences.size) and int(sequences.ravel()[0]) in found


def _of(found: Values, sequences: np.ndarray, place: int) -> np.ndarray:
    return np.array([found[int(each)][place] for each in sequences.ravel()]).reshape(sequences.shape)
