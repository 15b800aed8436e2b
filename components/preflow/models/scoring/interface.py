"""Who scores completions, behind one interface. The settings name the module at work, so that a change of one scorer's
code reaches the runs that use it, and no others."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from preflow.artifacts.ids import Message
from preflow.settings.score import ScoreSettings

SORTED_TOGETHER = 1024  # completions given to a reward model at once: rows of similar length then share a pass


class Asked(NamedTuple):
    """A completion to be scored. `finished` is false where it was cut at the limit; `answer` is the prompt's right one."""

    prompt_id: str
    prompt: Sequence[Message]
    text: str
    finished: bool = True
    answer: str | None = None


class Scoring(ABC):
    """`name` says which scorer it was, `at_once` how many completions it likes to see together, `needs_answers` whether it
    reads the prompts' answers, `needs_candidates` whether `look_at` must show it all candidates first."""

    name: str
    at_once: int
    needs_answers = False
    needs_candidates = False

    @abstractmethod
    def scores(self, asked: Sequence[Asked]) -> list[float]:
        """One finite number per completion, higher is better. Raises ScorerError."""

    def look_at(self, candidates: Iterable[tuple[str, Asked]]) -> None:
        """All candidates (completion id, completion), in any order."""
        assert not self.needs_candidates, "a scorer that needs candidates looks at them"


def open_scoring(path: str | Path, settings: ScoreSettings) -> Scoring:
    """The scorer that the settings name; `path` is its file, or the folder of a reward model. Raises ScorerError, ModelError."""
    found: Scoring = importlib.import_module(settings.module).open_scorer(path, settings)
    return found
