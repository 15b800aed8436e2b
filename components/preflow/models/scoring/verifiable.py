"""The prompt's own answer as the scorer."""

from collections.abc import Sequence
from pathlib import Path

from preflow.errors import ScorerError
from preflow.models.scoring.interface import SORTED_TOGETHER, Asked, Scoring
from preflow.models.verifiable import verify
from preflow.settings.judge import VerifySettings
from preflow.settings.score import ScoreSettings


class VerifiableScoring(Scoring):
    """1 where the completion gives the prompt's answer, else 0."""

    needs_answers = True

    def __init__(self, settings: VerifySettings):
        self.settings, self.name, self.at_once = settings, f"verifiable:{settings.rule}", SORTED_TOGETHER

    def scores(self, asked: Sequence[Asked]) -> list[float]:
        if lacking := next((each.prompt_id for each in asked if not (each.answer or "").strip()), None):
            raise ScorerError(
                f"prompt {lacking} has no answer. Expected a column `answer` in the prompts. Add it, or name another scorer."
            )
        return verify([each.text for each in asked], [each.answer for each in asked], self.settings)


def open_scorer(path: str | Path, settings: ScoreSettings) -> VerifiableScoring:
    """Nothing is read from `path`."""
    return VerifiableScoring(settings.verify or VerifySettings())
