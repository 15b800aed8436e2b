"""Log-probs of policy and reference on the same sequences, in the same batches: so that equal models give equal numbers."""

from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel

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
    progress: Progress,
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


def reward_accuracies(margins: np.ndarray) -> np.ndarray:
    """1, 0, or one half for a tie, per pair: the same for every method, whatever its loss."""
    return accuracy(torch.from_numpy(margins)).numpy()
