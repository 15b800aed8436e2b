"""A function of the user's as the scorer."""

from collections.abc import Sequence
from pathlib import Path

from preflow.artifacts.digests import file_sha256
from preflow.models.scorers import load_scorer, score_batches
from preflow.models.scoring.interface import Asked, Scoring
from preflow.settings.score import ScoreSettings


class FunctionScoring(Scoring):
    """The function that the settings name, of the user's file `path`."""

    def __init__(self, path: str | Path, settings: ScoreSettings):
        self.function, self.where = load_scorer(path, settings.function), f"scorer {settings.function}"
        self.name, self.at_once = f"{file_sha256(path)[:12]}:{settings.function}", settings.batch_size

    def scores(self, asked: Sequence[Asked]) -> list[float]:
        prompts, texts = [each.prompt for each in asked], [each.text for each in asked]
        return [s for batch in score_batches(self.function, prompts, texts, self.at_once, self.where) for s in batch]


open_scorer = FunctionScoring
