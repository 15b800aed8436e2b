"""Mismatched pairs: the partner's completion behind one's own prompt; batches of one; no trace of earlier batches."""

from pathlib import Path

import numpy as np

import completion_rows
from preflow.text.tokenizer import Tokenizer
from preflow.training.mismatched import ROLE, add_mismatched, partners
from preflow.training.streams import Stream, completions_stream


def stream_of(tokenizer: Path, count: int) -> tuple[Stream, Tokenizer]:
    contract = Tokenizer.load(tokenizer)
    return completions_stream(completion_rows.labelled(count), contract), contract


def test_partner_is_the_next_row_of_the_batch() -> None:
    assert partners(np.array([4, 7, 2]), np.arange(9)).tolist() == [7, 2, 4]


def test_a_batch_of_one_borrows_from_the_epoch() -> None:
    """Its own completion would make the reference point its own reward."""
    assert partners(np.array([5]), np.array([5, 3, 1])).tolist() == [3]
    assert partners(np.array([3]), np.array([5, 3, 1])).tolist() == [5]
    assert partners(np.array([0]), np.array([0])).tolist() == [0], "nobody else is there"


def test_own_prompt_and_the_others_completion(tiny_tokenizer: Path) -> None:
    stream, tokenizer = stream_of(tiny_tokenizer, 6)
    numbers = np.array([1, 4, 2])
    add_mismatched(stream, len(stream.store), numbers, np.arange(6), tokenizer.truncated)
    store, own = stream.store, stream.roles["completion"]
    for number, partner in zip(numbers, [4, 2, 1], strict=True):
        sequence = int(stream.roles[ROLE][number])
        assert store.prompt_of[sequence] == store.prompt_of[int(own[number])]
        assert store.completions[sequence].tolist() == store.completions[int(own[partner])].tolist()


def test_the_store_holds_one_batch_of_them(tiny_tokenizer: Path) -> None:
    """Whatever came before, a batch's sequences have the same numbers: a resumed run ends bit-identical."""
    stream, tokenizer = stream_of(tiny_tokenizer, 6)
    kept = len(stream.store)
    ids = list(stream.store.ids)
    add_mismatched(stream, kept, np.array([0, 1, 2]), np.arange(6), tokenizer.truncated)
    add_mismatched(stream, kept, np.array([3, 4, 5]), np.arange(6), tokenizer.truncated)
    after = (stream.store.ids[kept:], stream.roles[ROLE][3:].tolist())
    fresh, _ = stream_of(tiny_tokenizer, 6)
    add_mismatched(fresh, kept, np.array([3, 4, 5]), np.arange(6), tokenizer.truncated)
    assert (fresh.store.ids[kept:], fresh.roles[ROLE][3:].tolist()) == after
    assert stream.store.ids[:kept] == ids and len(stream.store) == kept + 3
    assert stream.store.add([1], [2]) == kept + 3


def test_a_completion_that_two_rows_share_is_stored_once(tiny_tokenizer: Path) -> None:
    rows = [row | {"text": "the same"} for row in completion_rows.labelled(3)]
    contract = Tokenizer.load(tiny_tokenizer)
    stream = completions_stream(rows, contract)
    add_mismatched(stream, 3, np.arange(3), np.arange(3), contract.truncated)
    assert len(stream.store) == 3
    assert stream.roles[ROLE].tolist() == stream.roles["completion"].tolist()
