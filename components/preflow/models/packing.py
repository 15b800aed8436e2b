"""Sequences as rows of tensors: a prompt that several completions share stands once in its row.

A row is [prompt, completion 1, completion 2, ...], its completions blind to each other by the attention mask and each
positioned right behind the prompt. So log-probs equal those of the sequences on their own, and a pair costs one prompt.
Rows end in padding that nothing attends to and nothing reads: lengths decide what counts, never a token's value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Tokens = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class PromptGroup:
    """A prompt with completions; `indices` say which sequences of the caller's these are."""

    prompt: Tokens
    completions: tuple[Tokens, ...]
    indices: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + sum(len(completion) for completion in self.completions)

    def parts(self, budget: int) -> list["PromptGroup"]:
        """The completions in rows of at most `budget` tokens, the prompt in each: memory does not grow with their number."""
        room, used = budget - len(self.prompt), 0
        rows: list[list[int]] = []
        for place, completion in enumerate(self.completions):
            if rows and used + len(completion) <= room:
                rows[-1].append(place)
                used += len(completion)
            else:
                rows.append([place])
                used = len(completion)
        return [
            PromptGroup(self.prompt, tuple(self.completions[n] for n in row), tuple(self.indices[n] for n in row))
            for row in rows
        ]


@dataclass(frozen=True)
class PackedBatch:
    """Rows of prompt groups. R rows of width W, N completion tokens in all, S sequences.

    input_ids, position_ids: [R, W]; mask: [R, 1, W, W] bool, True where a token (third axis) may look (last axis), or
    None where every row is one sequence and plain causal attention does the same.
    rows, columns: [N] where the hidden state stands that predicts each completion token; targets: [N] the token;
    sequences: [N] which of the S sequences it belongs to; indices: the caller's number of each of the S sequences.
    prompt_lengths: [R] tokens of each row's prompt; sequence_rows, sequence_ends: [S] where each sequence's last token is.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor | None
    rows: Tensor
    columns: Tensor
    targets: Tensor
    sequences: Tensor
    prompt_lengths: Tensor
    sequence_rows: Tensor
    sequence_ends: Tensor
    indices: tuple[int, ...]

    def to(self, place: torch.device) -> "PackedBatch":
        moved = {name: value.to(place) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return PackedBatch(**{**vars(self), **moved})


def pack(groups: Sequence[PromptGroup], pad_id: int = 0) -> PackedBatch:
    """Rows for `groups`. Every prompt has at least one token: the first completion token needs something to predict it."""
    width = max(group.num_tokens for group in groups)
    ids = np.full((len(groups), width), pad_id, dtype=np.int64)
    positions = np.zeros((len(groups), width), dtype=np.int64)
    segments = np.full((len(groups), width), -1, dtype=np.int32)
    rows, columns, targets, sequences = [], [], [], []
    indices: list[int] = []
    ends: list[tuple[int, int]] = []
    for row, group in enumerate(groups):
        length = len(group.prompt)
        assert length > 0, "a prompt without tokens"
        ids[row, :length], positions[row, :length], segments[row, :length] = group.prompt, np.arange(length), 0
        start = length
        for number, completion in enumerate(group.completions, 1):
            end = start + len(completion)
            ids[row, start:end], segments[row, start:end] = completion, number
            positions[row, start:end] = np.arange(length, length + len(completion))
            rows.append(np.full(len(completion), row))
            columns.append(np.concatenate([[length - 1], np.arange(start, end - 1)])[: len(completion)])
            targets.append(np.asarray(completion, dtype=np.int64))
            sequences.append(np.full(len(completion), len(indices)))
            indices.append(group.indices[number - 1])
            ends.append((row, end - 1))
            start = end
    shared = any(len(group.completions) > 1 for group in groups)
    at_row, at_column, target, sequence = (
        torch.from_numpy(np.concatenate(each).astype(np.int64)) for each in (rows, columns, targets, sequences)
    )
    mask = _mask(torch.from_numpy(segments)) if shared else None
    return PackedBatch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        mask,
        at_row,
        at_column,
        target,
        sequence,
        torch.tensor([len(group.prompt) for group in groups]),
        torch.tensor([row for row, _ in ends]),
        torch.tensor([column for _, column in ends]),
        tuple(indices),
    )


def _mask(segments: Tensor) -> Tensor:
    """[R, 1, W, W]: a token sees itself, the prompt before it, and its own completion before it."""
    width = segments.shape[1]
    looking, seen = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    allowed = causal & ((seen == 0) | (seen == looking))
    return (allowed | torch.eye(width, dtype=torch.bool))[:, None]


def cut_by_tokens(groups: Sequence[PromptGroup], budget: int) -> list[list[PromptGroup]]:
    """Micro-batches of at most `budget` tokens, padding included, of rows of similar length; a larger group stands alone."""
    ordered = sorted(groups, key=lambda group: (group.num_tokens, group.indices))
    batches: list[list[PromptGroup]] = []
    for group in ordered:
        if batches and group.num_tokens * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(group)
        else:
            batches.append([group])
    return batches
