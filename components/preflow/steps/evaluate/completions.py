"""What held-out completions say of a policy: labelled, scored, unwanted, or to be forgotten."""

import numpy as np

from preflow.artifacts.manifest import read_manifest
from preflow.evaluation.concordance import concordance_numbers
from preflow.evaluation.residuals import prompt_values, residual_numbers
from preflow.models.load import device
from preflow.models.values import load_values
from preflow.settings.evaluate import EvaluateSettings
from preflow.training.streams import Stream


def completion_numbers(stream: Stream, ratios: np.ndarray, policy: str, settings: EvaluateSettings) -> dict[str, float]:
    """Numbers from log(pi/ref) of every sequence, [S] nats: means, the rank agreement with labels or scores, and where the
    policy's folder holds a value network, what both leave unexplained of the scores, standardised as in training."""
    numbers_of = stream.roles["completion"]
    own, columns = ratios[numbers_of], stream.columns
    numbers = {"eval/completion_log_ratio": float(own.mean())}
    labels = columns.get("desirable")
    if labels is not None:
        for name, rows in (("desirable", labels), ("undesirable", ~labels)):
            if rows.any():
                numbers[f"eval/{name}_log_ratio"] = float(own[rows].mean())
    facets = columns.get("scores") if labels is None else labels
    if facets is None:
        return numbers
    numbers |= concordance_numbers(own, facets, stream.prompt_ids)
    scale = read_manifest(policy).facts
    network = load_values(policy, settings.dtype) if "score_mean" in scale else None
    if network is None or "scores" not in columns:
        return numbers
    values = prompt_values(network.to(device()), stream.store, settings.micro_batch_tokens, device())
    scores = (columns["scores"] - scale["score_mean"]) / scale["score_std"]
    return numbers | residual_numbers(scores, values[numbers_of], own, settings.beta)
