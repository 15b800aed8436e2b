"""History: the pairs of all rounds in one artifact, and the sample of it that a round trains on again."""

from collections.abc import Iterator
from typing import Any

from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import PAIRS
from preflow.errors import ArtifactError
from preflow.selection.history import draw_history, history_counts
from preflow.settings.history import HistorySettings
from preflow.steps.kit import Step

Row = dict[str, Any]


def run(step: Step, *, pairs: str, earlier: str, merged: str, history: str) -> None:
    """Write the new pairs and those drawn of the rounds before (`merged`), and all of them with their round (`history`).

    `earlier` is the history up to the round before; its pairs without a round are those of round 0. Raises ArtifactError
    where it holds pairs of this round or a later one.
    """
    settings = step.settings(HistorySettings)
    new = {row["pair_id"]: row | {"round": settings.round} for row in read_rows(pairs, PAIRS)}
    old = {row["pair_id"]: row | {"round": row["round"] or 0} for row in read_rows(earlier, PAIRS)}
    rounds: list[list[str]] = [[] for _ in range(settings.round)]
    for identity, row in old.items():
        if row["round"] >= settings.round:
            raise ArtifactError(
                f"{earlier}: pair {identity} is of round {row['round']}, expected rounds before {settings.round}. Connect "
                "the history of the round before."
            )
        if identity not in new:  # a policy that did not move may write the same text again
            rounds[row["round"]].append(identity)
    drawn = _draw(rounds, len(new), settings)
    write_rows(merged, PAIRS, [*new.values(), *(old[each] for each in drawn)])
    write_rows(history, PAIRS, _all(old, new))
    step.fact("new_pairs", len(new))
    step.fact("old_pairs", len(drawn))
    for index, ids in enumerate(rounds):
        step.fact(f"pairs_of_round_{index}", sum(each in set(drawn) for each in ids))


def _draw(rounds: list[list[str]], new: int, settings: HistorySettings) -> list[str]:
    """Pair ids of earlier rounds, the newest round first."""
    counts = history_counts([*map(len, rounds), new], settings.newest_share, settings.decay)
    drawn = []
    for age, count in enumerate(counts, 1):
        index = settings.round - age
        drawn += draw_history(rounds[index], count, settings.seed, settings.round, index)
    return drawn


def _all(old: dict[str, Row], new: dict[str, Row]) -> Iterator[Row]:
    yield from (row for identity, row in old.items() if identity not in new)
    yield from new.values()
