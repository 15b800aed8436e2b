"""Reward models: a language model's backbone with a scalar head on the last token of a sequence.

The number of a sequence is a Bradley-Terry reward (log-odds), or, for a comparison of two answers in one text, the
log-odds that the first one wins (the ranking models of SLiC-HF and RSO).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from preflow.artifacts.files import write_json
from preflow.errors import ModelError
from preflow.models.load import load_model
from preflow.models.packing import PackedBatch, PromptGroup, cut_by_tokens, groups_of, pack
from preflow.models.sequence_logps import SequenceLogps

HEAD_FILE, ABOUT_FILE, TOKENIZER_FOLDER = "reward_head.safetensors", "reward_model.json", "tokenizer"
Progress = Callable[[int, int], None]


class SequenceRewards(nn.Module):
    """`forward(batch)` gives [1, S]: the head's number at the last token of every sequence of a packed batch."""

    quantities: tuple[str, ...] = ("rewards",)

    def __init__(self, model: Any):
        super().__init__()
        self.sequences = SequenceLogps(model)
        self.head = nn.Linear(model.get_output_embeddings().weight.shape[1], 1, dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: PackedBatch) -> Tensor:
        last = self.sequences.last_hidden_states(batch)
        return self.head(last.to(self.head.weight.dtype)).T


@torch.no_grad()
def rewards_of(
    module: SequenceRewards,
    groups: Sequence[PromptGroup],
    *,
    micro_batch_tokens: int,
    device: torch.device,
    progress: Progress = lambda done, total: None,
) -> dict[int, float]:
    """The head's number of every sequence of `groups`, by the group's own indices; rows of similar length go together."""
    found: dict[int, float] = {}
    total = sum(len(group.indices) for group in groups)
    parts = [
        part
        for group in groups
        for part in groups_of(
            group.prompt,
            ([index] for index in group.indices),
            dict(zip(group.indices, group.completions, strict=True)).__getitem__,
            micro_batch_tokens,
        )
    ]
    for each in cut_by_tokens(parts, micro_batch_tokens):
        packed = pack(each).to(device)
        found.update(zip(packed.indices, module(packed)[0].tolist(), strict=True))
        progress(len(found), total)
    return found


def save_head(rewards: SequenceRewards, folder: Path, about: dict[str, Any]) -> None:
    """Write the head and what it is (`head`: scalar or pairwise) beside the backbone's files."""
    save_file(
        {name: value.detach().contiguous() for name, value in rewards.head.state_dict().items()}, folder / HEAD_FILE
    )
    write_json(folder / ABOUT_FILE, about)


def load_reward_model(folder: str | Path, dtype: str = "float32") -> tuple[SequenceRewards, dict[str, Any]]:
    """The reward model of a folder and what it says about itself. Raises ModelError."""
    folder = Path(folder)
    if not (folder / ABOUT_FILE).is_file():
        raise ModelError(f"{folder}: no {ABOUT_FILE}. Expected a reward model that train_reward_model wrote.")
    rewards = SequenceRewards(load_model(folder, dtype))
    rewards.head.load_state_dict(load_file(folder / HEAD_FILE))
    return rewards.eval(), json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
