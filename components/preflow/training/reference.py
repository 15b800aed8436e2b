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


def stored_logps(path: str, store: SequenceStore) -> np.ndarray:
    """[S] nats for every sequence of `store`, from a sequence_logps/v1 artifact. Raises ArtifactError for a missing one."""
    found = {row["sequence_id"]: row["logp"] for row in read_rows(path, SEQUENCE_LOGPS, ("sequence_id", "logp"))}
    missing = [identity for identity in store.ids if identity not in found]
    if missing:
        raise ArtifactError(
            f"{path}: no log-prob for {len(missing)} of {len(store)} sequences (first {missing[0]}). Expected those of the "
            "same data, tokenizer and truncation; run reference_logps on this data."
        )
    return np.array([found[identity] for identity in store.ids])


@torch.no_grad()
def online_logps(
    module: SequenceLogps,
    store: SequenceStore,
    *,
    micro_batch_tokens: int,
    device: torch.device,
    progress: Progress = lambda done, total: None,
    per_token: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """([S] nats, per-token log-probs of each sequence or nothing), by running the model once over every sequence."""
    sums, tokens = np.empty(len(store)), [np.empty(0, dtype=np.float32)] * (len(store) if per_token else 0)
    done = 0
    for groups in cut_by_tokens(_groups(store, micro_batch_tokens), micro_batch_tokens):
        packed = pack(groups).to(device)
        found = module.token_logps(packed).double().cpu()
        each = torch.zeros(len(packed.indices), dtype=torch.float64).index_add(0, packed.sequences.cpu(), found)
        sums[list(packed.indices)] = each.numpy()
        if per_token:
            ends = np.cumsum([store.completions.length(index) for index in packed.indices])[:-1]
            for index, values in zip(packed.indices, np.split(found.float().numpy(), ends), strict=True):
                tokens[index] = values
        done += len(packed.indices)
        progress(done, len(store))
    return sums, tokens


def _groups(store: SequenceStore, budget: int) -> list[PromptGroup]:
    by_prompt: dict[int, list[int]] = {}
    for sequence, prompt in enumerate(store.prompt_of):
        by_prompt.setdefault(prompt, []).append(sequence)
    return [
        group
        for prompt, sequences in by_prompt.items()
        for group in groups_of(
            store.prompts[prompt], ([each] for each in sequences), store.completions.__getitem__, budget
        )
    ]
