"""Scorers and judges: a function in one Python file of the user's.

    def helpfulness(prompts: list[list[dict[str, str]]], completions: list[str]) -> list[float]

It gets a batch (prompts as messages) and returns one finite number per completion; higher is better.
"""

import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from preflow.artifacts.ids import Message
from preflow.errors import ScorerError

Scorer = Callable[[Sequence[Sequence[Message]], Sequence[str]], Sequence[float]]
MODULE_NAME = "preflow_user_scorer"


def load_scorer(path: str | Path, function: str) -> Scorer:
    """The function `function` of the file `path`. Raises ScorerError with the file's line for anything that goes wrong."""
    path = Path(path)
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise ScorerError(f"{path}: not a Python file. Expected FILE.py with a function {function!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ScorerError(
            f"{path}: imports {error.name!r}, which is not installed. A scorer is shipped as one file: install the library, "
            "or move what it needs from a neighbouring file into it."
        ) from None
    except (Exception, SystemExit) as error:
        raise ScorerError(f"{path}: {_user_lines(error, path)}. Mend the file; `preflow check` loads it too.") from None
    found = getattr(module, function, None)
    if not callable(found):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ScorerError(f"{path}: no function {function!r}. Functions there: {', '.join(names) or 'none'}.")
    return found


def score_batches(
    scorer: Scorer, prompts: Sequence[Sequence[Message]], completions: Sequence[str], batch_size: int, where: str
) -> Iterator[list[float]]:
    """Scores, batch after batch, each checked. `where` names the scorer in messages."""
    for start in range(0, len(completions), batch_size):
        end = start + batch_size
        yield _scores(scorer, [list(p) for p in prompts[start:end]], list(completions[start:end]), where, start)


def _scores(scorer: Scorer, prompts: list[Any], completions: list[str], where: str, first: int) -> list[float]:
    try:
        answer = list(scorer(prompts, completions))
    except Exception as error:
        raise ScorerError(
            f"{where}: {_user_lines(error, None)}, scoring rows {first + 1} to {first + len(completions)}. Mend the function."
        ) from None
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


def _user_lines(error: BaseException, path: Path | None) -> str:
    """The error with the last line of the user's own file."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if path is None or frame.filename == str(path)]
    line = own[-1].lineno if own else getattr(error, "lineno", None)
    place = f" (line {line} of {Path(own[-1].filename).name if own else path})" if line else ""
    return f"{type(error).__name__}: {error}{place}"
