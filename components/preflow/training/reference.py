"""Reference log-probs: answered from the artifact by sequence id, or by running the reference model."""

from collections.abc import Callable

import numpy as np
import torch

from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import SEQUENCE_LOGPS
from preflow.errors import ArtifactError
from preflow.models.packing import PromptGroup, cut_by_tokens, groups_of, pack
from preflow.models.sequence_logps import SequenceLogps
from preflow.training.streams import SequenceStore

Progress = Callable[[int, int], None]


def stored_logps(path: str, store: SequenceStore, wanted: np.ndarray) -> np.ndarray:
    """[S] nats, for the sequences `wanted` of `store`, from a sequence_logps/v1 artifact; NaN for the others.

    Raises ArtifactError if one that is wanted is missing.
    """
    found = {row["sequence_id"]: row["logp"] for row in read_rows(path, SEQUENCE_LOGPS, ("sequence_id", "logp"))}
    missing = [store.ids[number] for number in wanted if store.ids[number] not in found]
    if missing:
        raise ArtifactError(
            f"{path}: no log-prob for {len(missing)} of {len(wanted)} sequences (first {missing[0]}). Expected those of the "
            "same data, tokenizer and truncation; run reference_logps on this data."
        )
    values = np.full(len(store), np.nan)
    values[wanted] = [found[store.ids[number]] for number in wanted]
    return values


@torch.no_grad()
def online_logps(
    module: SequenceLogps,
    store: SequenceStore,
    *,
    micro_batch_tokens: int,
    device: torch.device,
    wanted: np.ndarray | None = None,
    progress: Progress = lambda done, total: None,
    per_token: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """([S] nats, per-token log-probs of each sequence or nothing), by running the model once over every sequence.

    With `wanted`, over these sequence numbers alone; the others' entries are NaN.
    """
    numbers = np.arange(len(store)) if wanted is None else wanted
    sums, tokens = np.full(len(store), np.nan), [np.empty(0, dtype=np.float32)] * (len(store) if per_token else 0)
    done = 0
    for groups in cut_by_tokens(prompt_groups(store, numbers, micro_batch_tokens), micro_batch_tokens):
        packed = pack(groups).to(device)
        found = module.token_logps(packed).double().cpu()
        each = torch.zeros(len(packed.indices), dtype=torch.float64).index_add(0, packed.sequences.cpu(), found)
        sums[list(packed.indices)] = each.numpy()
        if per_token:
            ends = np.cumsum([store.completions.length(index) for index in packed.indices])[:-1]
            for index, values in zip(packed.indices, np.split(found.float().numpy(), ends), strict=True):
                tokens[index] = values
        done += len(packed.indices)
        progress(done, len(numbers))
    return sums, tokens


def prompt_groups(store: SequenceStore, numbers: np.ndarray, budget: int) -> list[PromptGroup]:
    """The sequences `numbers`, those of one prompt together while the row has room."""
    by_prompt: dict[int, list[int]] = {}
    for sequence in numbers.tolist():
        by_prompt.setdefault(store.prompt_of[sequence], []).append(sequence)
    return [
        group
        for prompt, sequences in by_prompt.items()
        for group in groups_of(
            store.prompts[prompt], ([each] for each in sequences), store.completions.__getitem__, budget
        )
    ]
