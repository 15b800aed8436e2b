"""Scorers and judges: a function in one Python file of the user's.

    def helpfulness(prompts: list[list[dict[str, str]]], completions: list[str]) -> list[float]

It gets a batch (prompts as messages) and returns one finite number per completion; higher is better.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from preflow.artifacts.ids import Message
from preflow.errors import ScorerError
from preflow.models.own_code import MISTAKES, expect_parameters, load_function, located, source_of

Scorer = Callable[[Sequence[Sequence[Message]], Sequence[str]], Sequence[float]]
MODULE_NAME = "preflow_user_scorer"
SCORER = ("prompts", "completions")
JUDGE = ("prompts", "firsts", "seconds")
"""What they are called with."""


def load_scorer(path: str | Path, function: str, takes: Sequence[str] = SCORER) -> Scorer:
    """The function `function` of the file `path`, of the parameters `takes`: a scorer, or a judge.

    Raises ScorerError with the file's line for anything that goes wrong.
    """
    found: Scorer = load_function(path, function, MODULE_NAME, ScorerError)
    expect_parameters(found, takes, f"{Path(path).name}:{function}", ScorerError)
    return found


def answer_of(function: Callable[..., Any], batch: tuple[Any, ...], where: str, doing: str) -> list[Any]:
    """What a scorer or judge says of a batch. Raises ScorerError with the line of the user's file for what it raises."""
    try:
        return list(function(*batch))
    except MISTAKES as error:
        raise ScorerError(f"{where}: {located(error, source_of(function))}, {doing}. Mend the function.") from None


def score_batches(
    scorer: Scorer, prompts: Sequence[Sequence[Message]], completions: Sequence[str], batch_size: int, where: str
) -> Iterator[list[float]]:
    """Scores, batch after batch, each checked. `where` names the scorer in messages."""
    for start in range(0, len(completions), batch_size):
        end = start + batch_size
        yield _scores(scorer, [list(p) for p in prompts[start:end]], list(completions[start:end]), where, start)


def _scores(scorer: Scorer, prompts: list[Any], completions: list[str], where: str, first: int) -> list[float]:
    answer = answer_of(scorer, (prompts, completions), where, f"scoring rows {first + 1} to {first + len(completions)}")
    if len(answer) != len(completions):
        raise ScorerError(
            f"{where}: returned {len(answer)} scores for {len(completions)} completions. Return one number per completion, in order."
        )
    scores = []
    for row, value in enumerate(answer, first + 1):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ScorerError(f"{where}: row {row}: returned {value!r}, expected a number.") from None
        if not math.isfinite(number):
            raise ScorerError(
                f"{where}: row {row}: returned {number}, expected a finite number. Return a low score for a bad text."
            )
        scores.append(number)
    return scores
