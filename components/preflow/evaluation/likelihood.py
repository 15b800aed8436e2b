"""Log-probs of policy and reference on the same sequences, in the same batches: equal models give equal numbers."""

from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel

from preflow.evaluation.statistics import Estimate, clustered_mean
from preflow.losses.logps import accuracy
from preflow.models.sequence_logps import SequenceLogps
from preflow.training.reference import online_logps
from preflow.training.streams import SequenceStore, Stream

Progress = Callable[[int, int], None]


def log_ratios(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    store: SequenceStore,
    micro_batch_tokens: int,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """log(pi/ref) of every sequence of the store, [S] nats."""
    found = []
    for number, model in enumerate((policy, reference)):
        sums, _ = online_logps(
            SequenceLogps(model),
            store,
            micro_batch_tokens=micro_batch_tokens,
            device=model.device,
            progress=lambda done, total, number=number: progress(number * total + done, 2 * total),  # type: ignore[misc]
        )
        found.append(sums)
    return found[0] - found[1]


def reward_margins(stream: Stream, ratios: np.ndarray) -> np.ndarray:
    """log-ratio of the chosen minus that of the rejected completion of every pair, [B] nats."""
    return ratios[stream.roles["chosen"]] - ratios[stream.roles["rejected"]]


def reward_accuracy(stream: Stream, margins: np.ndarray, confidence: float, seed: int) -> Estimate:
    """The share of votes that the implicit reward agrees with, ties half: the same for every method, whatever its loss.

    A pair is one vote for its chosen side; an aggregated pair is `weight` votes, of which the share `preference` is for
    the chosen side, so that it counts as its votes would have, each in a row of its own.
    """
    agreed = accuracy(torch.from_numpy(margins)).numpy()
    agreed = stream.preference * agreed + (1 - stream.preference) * (1 - agreed)
    clusters = [str(stream.store.prompt_of[int(each)]) for each in stream.roles["chosen"]]
    return clustered_mean(agreed.tolist(), clusters, confidence, seed, stream.weight.tolist())


def mean_margin(stream: Stream, margins: np.ndarray) -> float:
    """The mean over votes of the margin in favour of the side voted for, nats."""
    return float(np.average((2 * stream.preference - 1) * margins, weights=stream.weight))
