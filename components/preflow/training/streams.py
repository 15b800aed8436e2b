"""Training data as compact token arrays: unique prompts and sequences, and examples that point at them by role.

An example is what the data kind says: a pair has the roles chosen and rejected, any other completion the role completion.
Everything is token ids in int32 arrays; a million pairs never sit in memory as Python objects.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from preflow.artifacts.facets import COMPLETION_FACETS, PAIR_FACETS
from preflow.artifacts.ids import content_id, sequence_id
from preflow.artifacts.io import expect_kind, read_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS
from preflow.errors import DataError, Problem
from preflow.text.tokenizer import TokenizedSequence, Tokenizer

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
        # A copy: the array could not grow while somebody looks into it.
        return np.frombuffer(self._flat, dtype=np.int32)[self._ends[index] : self._ends[index + 1]].copy()

    def length(self, index: int) -> int:
        return self._ends[index + 1] - self._ends[index]

    def shorten(self, count: int) -> None:
        """Forget all lists but the first `count`."""
        del self._flat[self._ends[count] :], self._ends[count + 1 :]


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

    def forget_after(self, count: int) -> None:
        """Forget all sequences but the first `count`; prompts stay."""
        for identity in self.ids[count:]:
            del self._sequence_index[identity]
        del self.ids[count:], self.prompt_of[count:]
        self.completions.shorten(count)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Stream:
    """Rows of one kind. Arrays have one entry per row, but `reference_logps` has one per sequence.

    roles: role -> sequence number [N], or [N, K] for a role with K sequences; weight: of the row in a mean;
    preference: P(first role wins) for pairs; columns: what else the rows say (scores, desirable, ...), where all do.
    `references` says which entry of `reference_logps` a role is compared with, where it is not "reference".
    examples: which rows go together into an optimizer batch, as one example of it; without, every row is one.
    """

    store: SequenceStore
    ids: list[str]
    prompt_ids: list[str]
    roles: dict[str, np.ndarray]
    weight: np.ndarray
    preference: np.ndarray
    prompt_cut: int = 0
    completion_cut: int = 0
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    reference_logps: dict[str, np.ndarray] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    examples: Sequence[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_examples(self) -> int:
        """What batches are counted in."""
        return len(self) if self.examples is None else len(self.examples)

    def rows_of(self, examples: np.ndarray) -> np.ndarray:
        """The rows that make up some examples, in the order of the examples."""
        if self.examples is None or not len(examples):
            return examples
        return np.concatenate([self.examples[number] for number in examples])

    def group_by_prompt(self) -> None:
        """From now on all rows of a prompt are one example, and count as one: a row's weight is shared out among them."""
        places: dict[str, list[int]] = {}
        for number, prompt in enumerate(self.prompt_ids):
            places.setdefault(prompt, []).append(number)
        self.examples = [np.array(rows, dtype=np.int64) for rows in places.values()]
        for rows in self.examples:
            self.weight[rows] /= len(rows)

    def reference_of(self, role: str) -> np.ndarray:
        """[S] nats under the model that `role` is compared with."""
        return self.reference_logps[self.references.get(role, "reference")]

    def units(self, numbers: np.ndarray, roles: Sequence[str]) -> list[list[int]]:
        """Sequences of the rows `numbers` in some roles, those together that a row holds, directly or through others."""
        parents: dict[int, int] = {}

        def root(sequence: int) -> int:
            while parents.setdefault(sequence, sequence) != sequence:
                sequence = parents[sequence]
            return sequence

        held = np.concatenate([self.roles[role][numbers].reshape(len(numbers), -1) for role in roles], 1)
        for first, *others in held.tolist():
            for each in (first, *others):
                parents[root(each)] = root(first)
        units: dict[int, list[int]] = {}
        for sequence in sorted(parents):
            units.setdefault(root(sequence), []).append(sequence)
        return list(units.values())

    def lengths(self, role: str, numbers: np.ndarray) -> np.ndarray:
        """Completion tokens of a role's sequences, in the shape of the role."""
        wanted = self.roles[role][numbers]
        flat = [self.store.completions.length(int(number)) for number in wanted.ravel()]
        return np.array(flat, dtype=np.float64).reshape(wanted.shape)


Progress = Callable[[int], None]
Part = tuple[str, str, str | None, Any]


def stream_of(path: str, tokenizer: Tokenizer, progress: Progress = lambda done: None) -> Stream:
    """The stream of a pairs/v1 or completions/v1 artifact. Raises ArtifactError, DataError."""
    kind = expect_kind(path, (PAIRS, COMPLETIONS))
    make = pairs_stream if kind is PAIRS else completions_stream
    return make(read_rows(path, kind), tokenizer, progress)


def pairs_stream(
    rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, progress: Progress = lambda done: None
) -> Stream:
    """A stream from pairs/v1 rows. Raises DataError for a row without tokens.

    Texts that truncation makes equal stay in: they count as an example, whose gradient is zero.
    """

    def completions(row: Mapping[str, Any]) -> list[Part]:
        return [
            ("chosen", row["chosen"], row["chosen_finish"], row["chosen_token_ids"]),
            ("rejected", row["rejected"], row["rejected_finish"], row["rejected_token_ids"]),
        ]

    return _stream(rows, tokenizer, ("chosen", "rejected"), "pair_id", completions, PAIR_FACETS, progress)


def completions_stream(
    rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, progress: Progress = lambda done: None
) -> Stream:
    """A stream from completions/v1 rows that carry their prompt: demonstrations, labelled, scored or sampled texts."""

    def completions(row: Mapping[str, Any]) -> list[Part]:
        return [("completion", row["text"], row["finish_reason"], row["token_ids"])]

    return _stream(rows, tokenizer, ("completion",), "completion_id", completions, COMPLETION_FACETS, progress)


class _Columns:
    """Facets of the rows, kept as long as every row has them."""

    def __init__(self, names: Mapping[str, str]):
        self.names = names
        self.values: dict[str, list[Any]] = {name: [] for name in names}

    def add(self, row: Mapping[str, Any]) -> None:
        for name in list(self.values):
            value = row.get(self.names[name])
            if value is None:
                del self.values[name]
            else:
                self.values[name].append(value)

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.array(values) for name, values in self.values.items() if values}


def _stream(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: Tokenizer,
    roles: tuple[str, ...],
    key: str,
    completions: Callable[[Mapping[str, Any]], list[Part]],
    names: Mapping[str, str],
    progress: Progress,
) -> Stream:
    store, ids, prompt_ids, columns = SequenceStore(), [], [], _Columns(names)
    numbers: dict[str, array] = {role: array("q") for role in roles}
    weight, preference = array("d"), array("d")
    cuts = [0, 0]
    for chunk in _chunks(rows):
        for row, sequences in zip(chunk, _tokenized(chunk, tokenizer, key, completions), strict=True):
            for role, sequence in sequences:
                cuts[0] += sequence.prompt_cut > 0
                cuts[1] += sequence.completion_cut > 0
                numbers[role].append(store.add(sequence.prompt_ids, sequence.completion_ids))
            ids.append(row[key])
            prompt_ids.append(row["prompt_id"])
            columns.add(row)
            weight.append(1.0 if row.get("weight") is None else row["weight"])
            preference.append(1.0 if row.get("preference") is None else row["preference"])
        progress(len(ids))
    arrays = {role: np.array(values, dtype=np.int64) for role, values in numbers.items()}
    weights, preferences = np.array(weight), np.array(preference)
    return Stream(store, ids, prompt_ids, arrays, weights, preferences, cuts[0], cuts[1], columns.arrays())


def _tokenized(
    chunk: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    key: str,
    completions: Callable[[Mapping[str, Any]], list[Part]],
) -> Iterator[list[tuple[str, TokenizedSequence]]]:
    """(role, sequence) of every completion of every row, encoded together."""
    prompts = tokenizer.encode_prompts([row["prompt"] for row in chunk])
    parts = [completions(row) for row in chunk]
    flat = [part for each in parts for part in each]
    ends = [end != "length" for _, _, end, _ in flat]
    encoded = iter(tokenizer.encode_completions([text for _, text, _, _ in flat], ends))
    for row, prompt, each in zip(chunk, prompts, parts, strict=True):
        found = []
        for role, _, _, sampled in each:
            own = next(encoded)
            sequence = tokenizer.truncated(prompt, own if sampled is None else sampled)
            if not sequence.completion_ids or not sequence.prompt_ids:
                raise DataError(
                    [Problem("training data", 0, "no_tokens", f"{key} {row[key]}: no tokens.", "Remove the row.")]
                )
            found.append((role, sequence))
        yield found


def _chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    source = iter(rows)
    while chunk := list(islice(source, ROWS_AT_ONCE)):
        yield chunk
