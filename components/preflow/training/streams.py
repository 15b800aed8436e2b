"""Training data as compact token arrays: unique prompts and sequences, and examples that point at them by role.

An example is what the data kind says: a pair has the roles chosen and rejected, a demonstration the role target.
Everything is token ids in int32 arrays; a million pairs never sit in memory as Python objects.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from preflow.artifacts.ids import content_id, sequence_id
from preflow.errors import DataError, Problem
from preflow.text.tokenizer import Tokenizer

ROWS_AT_ONCE = 512


class RaggedTokens:
    """Token lists in one flat array."""

    def __init__(self) -> None:
        self._flat, self._ends = array("i"), array("q", [0])

    def append(self, tokens: Sequence[int]) -> int:
        """Returns the index of the new list."""
        self._flat.extend(tokens)
        self._ends.append(len(self._flat))
        return len(self._ends) - 2

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return np.frombuffer(self._flat, dtype=np.int32)[self._ends[index] : self._ends[index + 1]]

    def length(self, index: int) -> int:
        return self._ends[index + 1] - self._ends[index]


@dataclass
class SequenceStore:
    """Unique sequences: each is a completion of a prompt. `ids` are their sequence ids."""

    prompts: RaggedTokens = field(default_factory=RaggedTokens)
    completions: RaggedTokens = field(default_factory=RaggedTokens)
    prompt_of: array = field(default_factory=lambda: array("q"))
    ids: list[str] = field(default_factory=list)
    _prompt_index: dict[str, int] = field(default_factory=dict)
    _sequence_index: dict[str, int] = field(default_factory=dict)

    def add(self, prompt: Sequence[int], completion: Sequence[int]) -> int:
        """The number of a sequence; equal token ids are stored once."""
        identity = sequence_id(prompt, completion)
        if identity in self._sequence_index:
            return self._sequence_index[identity]
        key = content_id(list(prompt))
        if key not in self._prompt_index:
            self._prompt_index[key] = self.prompts.append(prompt)
        self.prompt_of.append(self._prompt_index[key])
        self._sequence_index[identity] = self.completions.append(completion)
        self.ids.append(identity)
        return self._sequence_index[identity]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Stream:
    """Examples of one kind. Arrays have one entry per example, but `reference_logps` has one per sequence.

    roles: role -> sequence number; weight: of the example in a mean; preference: P(first role wins) for pairs.
    """

    store: SequenceStore
    ids: list[str]
    roles: dict[str, np.ndarray]
    weight: np.ndarray
    preference: np.ndarray
    prompt_cut: int = 0
    completion_cut: int = 0
    reference_logps: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


Progress = Callable[[int], None]


def pairs_stream(
    rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, progress: Progress = lambda done: None
) -> Stream:
    """A stream from pairs/v1 rows. Raises DataError for a row without tokens.

    Texts that truncation makes equal stay in: they count as an example, whose gradient is zero.
    """

    def completions(row: Mapping[str, Any]) -> list[tuple[str, str, str | None, Any]]:
        return [
            ("chosen", row["chosen"], row["chosen_finish"], row["chosen_token_ids"]),
            ("rejected", row["rejected"], row["rejected_finish"], row["rejected_token_ids"]),
        ]

    return _stream(rows, tokenizer, ("chosen", "rejected"), "pair_id", completions, progress)


def targets_stream(
    rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, progress: Progress = lambda done: None
) -> Stream:
    """A stream from completions/v1 rows that carry their prompt: demonstrations for supervised fine-tuning."""

    def completions(row: Mapping[str, Any]) -> list[tuple[str, str, str | None, Any]]:
        return [("target", row["text"], row["finish_reason"], row["token_ids"])]

    return _stream(rows, tokenizer, ("target",), "completion_id", completions, progress)


def _stream(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: Tokenizer,
    roles: tuple[str, ...],
    key: str,
    completions: Callable[[Mapping[str, Any]], list[tuple[str, str, str | None, Any]]],
    progress: Progress,
) -> Stream:
    store, ids = SequenceStore(), []
    numbers: dict[str, array] = {role: array("q") for role in roles}
    weight, preference = array("d"), array("d")
    cuts = [0, 0]
    for chunk in _chunks(rows):
        prompts = tokenizer.encode_prompts([row["prompt"] for row in chunk])
        parts = [completions(row) for row in chunk]
        flat = [part for each in parts for part in each]
        encoded = iter(
            tokenizer.encode_completions([text for _, text, _, _ in flat], [end != "length" for _, _, end, _ in flat])
        )
        for row, prompt, each in zip(chunk, prompts, parts, strict=True):
            for role, _, _, sampled in each:
                own = next(encoded)
                sequence = tokenizer.truncated(prompt, own if sampled is None else sampled)
                if not sequence.completion_ids or not sequence.prompt_ids:
                    raise DataError(
                        [Problem("training data", 0, "no_tokens", f"{key} {row[key]}: no tokens.", "Remove the row.")]
                    )
                cuts[0] += sequence.prompt_cut > 0
                cuts[1] += sequence.completion_cut > 0
                numbers[role].append(store.add(sequence.prompt_ids, sequence.completion_ids))
            ids.append(row[key])
            weight.append(1.0 if row.get("weight") is None else row["weight"])
            preference.append(1.0 if row.get("preference") is None else row["preference"])
        progress(len(ids))
    arrays = {role: np.array(values, dtype=np.int64) for role, values in numbers.items()}
    return Stream(store, ids, arrays, np.array(weight), np.array(preference), cuts[0], cuts[1])


def _chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    source = iter(rows)
    while chunk := list(islice(source, ROWS_AT_ONCE)):
        yield chunk
