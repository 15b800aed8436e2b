"""Mismatched pairs: a prompt with another row's completion, for KTO's reference point (arXiv 2402.01306, section 4.2).

The partner of a row is the next one in its optimizer batch, the last one's is the first; a batch of a single row takes
the first row of the epoch that is another one. Both models are asked online: the pairs depend on the epoch's order.
"""

from collections.abc import Callable, Sequence

import numpy as np

from preflow.text.tokenizer import TokenizedSequence
from preflow.training.streams import Stream

ROLE = "mismatched"
Truncated = Callable[[Sequence[int], Sequence[int]], TokenizedSequence]


def partners(numbers: np.ndarray, epoch_order: np.ndarray) -> np.ndarray:
    """For every row of a batch the row whose completion it borrows.

    >>> partners(np.array([4, 7, 2]), np.arange(9)).tolist()
    [7, 2, 4]
    >>> partners(np.array([5]), np.array([5, 3, 1])).tolist()
    [3]
    """
    if len(numbers) > 1:
        return np.roll(numbers, -1)
    others = epoch_order[epoch_order != numbers[0]]
    return others[:1] if len(others) else numbers


def add_mismatched(
    stream: Stream, kept: int, numbers: np.ndarray, epoch_order: np.ndarray, truncated: Truncated
) -> None:
    """Fill the role `mismatched` for the rows `numbers`; of the store only the first `kept` sequences stay beside them.

    So a batch's sequences have the same numbers after a resumption as without one, and the store does not grow.
    """
    store, completions = stream.store, stream.roles["completion"]
    store.forget_after(kept)
    stream.roles[ROLE] = np.zeros(len(stream), dtype=np.int64)
    for number, partner in zip(numbers, partners(numbers, epoch_order), strict=True):
        prompt = store.prompts[store.prompt_of[int(completions[number])]]
        other = store.completions[int(completions[partner])]
        sequence = truncated(prompt.tolist(), other.tolist())
        stream.roles[ROLE][number] = store.add(sequence.prompt_ids, sequence.completion_ids)
