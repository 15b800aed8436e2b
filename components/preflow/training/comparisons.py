"""A stream of comparisons, made from a stream of pairs: what a pairwise reward model is trained on."""

from collections.abc import Sequence

import numpy as np

from preflow.artifacts.draws import uniforms
from preflow.text.comparison import Comparisons
from preflow.training.streams import SequenceStore, Stream

ROLE, FIRST_WINS = "comparison", "first_wins"


def keyed_flips(ids: Sequence[str], seed: int) -> np.ndarray:
    """[N] bool: whether the rejected side stands first. A row's draw hangs on (seed, its id) alone.

    Without it the first answer would always win, and that is what would be learned (SLiC-HF, section 3.2).
    """
    return np.array([uniforms(1, "flip", seed, identity)[0] < 0.5 for identity in ids], dtype=bool)


def comparison_stream(pairs: Stream, comparisons: Comparisons, flipped: np.ndarray) -> Stream:
    """The pairs as comparisons (role `comparison`), the rejected side first where `flipped` [N].

    The column `first_wins` is P(the first answer wins).
    """
    store, numbers, cuts = SequenceStore(), np.zeros(len(pairs), dtype=np.int64), 0
    for row, other in enumerate(flipped):
        chosen, rejected = (int(pairs.roles[role][row]) for role in ("chosen", "rejected"))
        first, second = (
            pairs.store.completions[each] for each in ((rejected, chosen) if other else (chosen, rejected))
        )
        prompt = pairs.store.prompts[pairs.store.prompt_of[chosen]]
        sequence = comparisons.sequence(prompt.tolist(), first.tolist(), second.tolist())
        cuts += sequence.completion_cut > 0
        numbers[row] = store.add(sequence.prompt_ids, sequence.completion_ids)
    wins = np.where(flipped, 1 - pairs.preference, pairs.preference)
    return Stream(
        store,
        pairs.ids,
        pairs.prompt_ids,
        {ROLE: numbers},
        pairs.weight.copy(),
        np.ones(len(pairs)),
        pairs.prompt_cut,
        pairs.completion_cut + cuts,
        {FIRST_WINS: wins},
    )
