"""Judges: who wins, the first or the second of two completions of a prompt?

A judge answers ordered questions with P(first wins), in [0, 1]. Judges have a taste for a place: ask both orders.
Here: a function in one Python file of the user's,

    def prefer(prompts: list[list[dict[str, str]]], firsts: list[str], seconds: list[str]) -> list[float]

and a preference matrix in a JSON file, which may well be intransitive.
"""

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.ids import Message
from preflow.errors import ScorerError
from preflow.models.scorers import JUDGE, answer_of, load_scorer

Prompts = Sequence[Sequence[Message]]


@dataclass(frozen=True)
class Verdict:
    """P(first wins), and what the judge said where it speaks."""

    probability: float
    raw: str | None = None


class Judge(ABC):
    """`name` and `version` say which judge it was, for judgments/v1."""

    name: str
    version: str

    @abstractmethod
    def verdicts(self, prompts: Prompts, firsts: Sequence[str], seconds: Sequence[str]) -> list[Verdict]:
        """One verdict per question, in order. Raises ScorerError."""

    def probabilities(self, prompts: Prompts, firsts: Sequence[str], seconds: Sequence[str]) -> list[float]:
        """P(first wins) of every question, in [0, 1]. Raises ScorerError."""
        return [verdict.probability for verdict in self.verdicts(prompts, firsts, seconds)]


def both_orders(
    judge: Judge, prompts: Prompts, firsts: Sequence[str], seconds: Sequence[str]
) -> list[tuple[float, float]]:
    """Every question as it is and with its texts swapped: (P(first wins), P(second wins | second shown first))."""
    asked = [*prompts, *prompts], [*firsts, *seconds], [*seconds, *firsts]
    answers = judge.probabilities(*asked)
    return list(zip(answers[: len(prompts)], answers[len(prompts) :], strict=True))


class FunctionJudge(Judge):
    """The function `function` of the user's file `path`, called with up to `batch_size` questions."""

    def __init__(self, path: str | Path, function: str, batch_size: int = 64):
        self.name, self.version = function, file_sha256(path)[:12] if Path(path).is_file() else ""
        self.batch_size = batch_size
        self.function: Callable[..., Any] = load_scorer(path, function, JUDGE)

    def verdicts(self, prompts: Prompts, firsts: Sequence[str], seconds: Sequence[str]) -> list[Verdict]:
        found = []
        for start in range(0, len(firsts), self.batch_size):
            batch = slice(start, start + self.batch_size)
            found += self._batch(
                [list(each) for each in prompts[batch]], list(firsts[batch]), list(seconds[batch]), start
            )
        return found

    def _batch(self, prompts: list[Any], firsts: list[str], seconds: list[str], start: int) -> list[Verdict]:
        doing = f"judging questions {start + 1} to {start + len(firsts)}"
        answer = answer_of(self.function, (prompts, firsts, seconds), f"judge {self.name}", doing)
        if len(answer) != len(firsts):
            raise ScorerError(
                f"judge {self.name}: returned {len(answer)} numbers for {len(firsts)} questions. "
                "Return one P(first wins) per question, in order."
            )
        return [Verdict(self._probability(value, start + row)) for row, value in enumerate(answer, 1)]

    def _probability(self, value: Any, row: int) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ScorerError(f"judge {self.name}: question {row}: returned {value!r}, expected a number.") from None
        if not 0 <= number <= 1:
            raise ScorerError(
                f"judge {self.name}: question {row}: returned {number}, expected P(first wins) in [0, 1]. "
                "Return 0.5 where neither is better."
            )
        return number


ROWS: dict[str, Callable[[str], str]] = {
    "text": lambda text: " ".join(text.split()),
    "first_word": lambda text: next(iter(re.findall(r"\w+", text)), ""),
    "last_word": lambda text: next(iter(reversed(re.findall(r"\w+", text))), ""),
}


class MatrixJudge(Judge):
    """Preferences between kinds of texts: P(first wins) = preferences[row of the first][row of the second].

    `row` says how a completion names its row, whatever the case: by the whole text, its first or its last word. A text
    that names none belongs to the row `otherwise`; without that it is an error. Two texts of one row are equally good.
    """

    def __init__(
        self,
        labels: Sequence[str],
        preferences: Sequence[Sequence[float]],
        row: str = "text",
        otherwise: str | None = None,
        where: str = "preference matrix",
    ):
        self.name, self.version, self.where = "matrix", "", where
        self.labels, self.preferences = list(labels), [list(each) for each in preferences]
        self._key = ROWS.get(row)
        self._rows = {label.casefold(): number for number, label in enumerate(labels)}
        problem = self._problem(row, otherwise)
        if problem:
            raise ScorerError(f"{where}: {problem}")
        self._otherwise = None if otherwise is None else self._rows[otherwise.casefold()]

    @classmethod
    def load(cls, path: str | Path) -> "MatrixJudge":
        """From `{"labels": ["rock", ...], "preferences": [[0.5, ...], ...], "row": "first_word", "otherwise": "rock"}`."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            judge = cls(**content, where=str(path))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ScorerError(
                f"{path}: no preference matrix ({error}). Expected JSON with labels, preferences (a square matrix) and, "
                f"if needed, row ({', '.join(ROWS)}) and otherwise (a label)."
            ) from None
        judge.name, judge.version = Path(path).stem, file_sha256(path)[:12]
        return judge

    def verdicts(self, prompts: Prompts, firsts: Sequence[str], seconds: Sequence[str]) -> list[Verdict]:
        pairs = zip(prompts, firsts, seconds, strict=True)
        return [Verdict(self.preferences[self.row(first)][self.row(second)]) for _, first, second in pairs]

    def row(self, text: str) -> int:
        """The row that a completion belongs to. Raises ScorerError."""
        assert self._key is not None
        found = self._rows.get(self._key(text).casefold(), self._otherwise)
        if found is None:
            raise ScorerError(
                f"{self.where}: {text[:80]!r} names none of the rows {', '.join(self.labels)}. Add a row, or say with "
                "`otherwise` which row such texts belong to."
            )
        return found

    def _problem(self, row: str, otherwise: str | None) -> str | None:
        size, matrix = len(self.labels), self.preferences
        if self._key is None:
            return f"row is {row!r}, expected one of {', '.join(ROWS)}."
        if not size or len(self._rows) < size or [len(each) for each in matrix] != [size] * size:
            return f"{size} labels and rows of lengths {[len(each) for each in matrix]}. Expected different labels and a square matrix."
        if otherwise is not None and otherwise.casefold() not in self._rows:
            return f"otherwise is {otherwise!r}, expected one of the labels {', '.join(self.labels)}."
        for i in range(size):
            for j in range(i, size):
                there, back = matrix[i][j], matrix[j][i]
                if not (0 <= there <= 1 and 0 <= back <= 1 and math.isclose(there + back, 1, abs_tol=1e-9)):
                    return (
                        f"P({self.labels[i]} beats {self.labels[j]}) is {there} and the other way round {back}. "
                        "Expected two probabilities whose sum is 1, and 0.5 on the diagonal."
                    )
        return None
