"""What a training step says about itself, in the same words for every method."""

import numpy as np
import torch

from preflow.losses.logps import accuracy
from preflow.training.gradient import StepResult
from preflow.training.streams import Stream


def step_metrics(
    result: StepResult, streams: dict[str, Stream], batch: dict[str, np.ndarray], beta: float
) -> dict[str, float]:
    """Means over the optimizer batch; reward accuracy counts a tie half. Log-probs in nats, margins in beta * nats."""
    values = {"train/loss": result.loss}
    for name, numbers in batch.items():
        stream, logps = streams[name], result.logps[name]
        means = {}
        for role, sequences in stream.roles.items():
            means[role] = np.array([logps[int(each)] for each in sequences[numbers]])
            values[f"train/{role}_logps"] = float(means[role].mean())
        if {"chosen", "rejected"} <= set(means) and "reference" in stream.reference_logps:
            margins = _margins(stream, numbers, means)
            values["train/reward_accuracy"] = float(accuracy(torch.from_numpy(margins)).mean())
            values["train/reward_margin"] = float(beta * margins.mean())
    return values


def _margins(stream: Stream, numbers: np.ndarray, policy: dict[str, np.ndarray]) -> np.ndarray:
    reference = stream.reference_logps["reference"]
    ratios = {role: policy[role] - reference[stream.roles[role][numbers]] for role in ("chosen", "rejected")}
    return ratios["chosen"] - ratios["rejected"]
