"""What is known about the candidates of one prompt: a value each, and who beats whom how often."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflow.errors import ArtifactError
from preflow.selection.reductions import (
    LOG_ODDS,
    baseline_scores,
    match_probabilities,
    mean_log_odds,
    score_preferences,
)
from preflow.selection.win_rates import Matrix, preference_matrix, win_rates

Row = Mapping[str, Any]
Place = tuple[int, int]


@dataclass(frozen=True)
class Standing:
    """Of K >= 2 candidates. `values` [K] are what rules compare: scores, or what was made of judgments.

    `preferences` [K, K] is P; `matches` holds P(first wins) of the matches of a knock-out that was judged, which has neither
    values nor a matrix. `judged`: values are win rates, or log-odds of them.
    """

    values: Sequence[float] = ()
    preferences: Matrix | None = None
    matches: Mapping[Place, float] | None = None
    judged: bool = False


def standing_of(group: Sequence[Row], judgments: Sequence[Row] | None, schedule: str, rank_by: str) -> Standing:
    """The standing of a prompt's candidates, from their scores or from the `judgments` that a `schedule` made.

    Raises ArtifactError for a candidate without a score, and for judgments that are not of these candidates.
    """
    if judgments is None:
        return scored(_scores(group), group[0]["unit"] or "raw")
    ids = [row["completion_id"] for row in group]
    try:
        if schedule == "tournament":
            return Standing(matches=_matches(judgments, ids), judged=True)
        if schedule == "versus_baseline":
            return scored(baseline_scores(judgments, ids), LOG_ODDS)
        matrix = preference_matrix(judgments, ids)
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"judgments of prompt {group[0]['prompt_id']}: {error}. Expected those of these candidates; run judge_candidates."
        ) from None
    values = mean_log_odds(matrix) if rank_by == "mean_score" else win_rates(matrix, include_self=False)
    return Standing(values.tolist(), matrix, judged=True)


def scored(scores: Sequence[float], unit: str) -> Standing:
    """The standing of scored candidates: what is better wins always, or as often as its log-odds say."""
    return Standing(list(scores), score_preferences(scores, unit))


def _scores(group: Sequence[Row]) -> list[float]:
    for row in group:
        if row["score"] is None:
            raise ArtifactError(
                f"completion {row['completion_id']} has no score. Run score_candidates first, or give judgments."
            )
    return [row["score"] for row in group]


def _matches(judgments: Sequence[Row], ids: Sequence[str]) -> dict[Place, float]:
    places = {each: place for place, each in enumerate(ids)}
    found = match_probabilities(judgments)
    return {(places[first], places[second]): probability for (first, second), probability in found.items()}
