"""Answers that can be checked: 1 where the completion's final answer is the prompt's `answer`, else 0."""

import math
import re
import unicodedata
from collections.abc import Sequence

from preflow.errors import ScorerError
from preflow.settings.judge import VerifySettings

MARKS = " \t\n\r.,;:!?\"'`*_$()[]{}<>"
NUMBER = re.compile(
    r"""(?<![A-Za-z0-9_.])  # not inside a word such as H2O, nor behind a decimal point
        (?P<sign>-?)\$?
        (?:\\[dt]?frac\{(?P<above>\d+)\}\{(?P<below>\d+)\}
        |(?P<whole>\d{1,3})\s(?P<top>\d+)/(?P<bottom>\d+)
        |(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<exponent>[eE][+-]?\d+)?
         (?:\s?/\s?(?P<denominator>\d+(?:\.\d+)?))?)
        \s?(?P<percent>\\?%)?""",
    re.VERBOSE,
)


def verify(completions: Sequence[str], answers: Sequence[str | None], settings: VerifySettings) -> list[float]:
    """1.0 or 0.0 for every completion. Raises ScorerError for a prompt without an answer, or one that is no number."""
    return [
        float(_is_right(completion, answer, row, settings))
        for row, (completion, answer) in enumerate(zip(completions, answers, strict=True), 1)
    ]


def _is_right(completion: str, answer: str | None, row: int, settings: VerifySettings) -> bool:
    if answer is None or not answer.strip():
        raise ScorerError(
            f"row {row}: its prompt has no answer. Expected a column `answer` with the right one. Add it, or take another scorer."
        )
    if settings.rule == "exact":
        return same_text(completion, answer)
    if not has_number(answer):
        raise ScorerError(
            f"row {row}: the answer {answer!r} holds no number. Expected one, or set verify.rule to exact."
        )
    return same_number(completion, answer, settings.tolerance)


def has_number(answer: str) -> bool:
    """Whether an answer can be compared as a number."""
    return last_number(final_answer(answer)) is not None


def final_answer(text: str) -> str:
    """What a text gives as its answer: the last `\\boxed{...}`, what follows the last `####`, or the last "answer is" or
    "answer:" up to the end of its line; without any, the last line with something on it.

    >>> final_answer("Two and two.\\n#### 4"), final_answer("So the answer is **4**."), final_answer("It is\\n4")
    ('4', '**4**.', '4')
    """
    return _marked(text) or next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _marked(text: str) -> str:
    """The answer where the text marks it, else nothing."""
    if boxed := _last_boxed(text):
        return boxed
    if "####" in text:
        return text.rpartition("####")[2].strip()
    said = re.findall(r"(?i)\banswer(?:\s+is\b|\s*:)[\s:]*([^\n]*)", text)
    return said[-1].strip() if said and said[-1].strip(MARKS) else ""


def _last_boxed(text: str) -> str:
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    depth, begin = 0, start + len("\\boxed")
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin + 1 : place].strip()
    return ""


def normalised(text: str) -> str:
    """One spelling per text: Unicode NFKC, lower case, single spaces, no marks around it.

    >>> normalised("  **New  York**. ")
    'new york'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(MARKS)


def same_text(text: str, answer: str) -> bool:
    """Whether a completion's final answer, or all of it, is the right answer but for case, spaces and marks around it."""
    wanted = normalised(_marked(answer) or answer)
    return wanted in (normalised(final_answer(text)), normalised(text))


def same_number(text: str, answer: str, tolerance: float) -> bool:
    """Whether the last numbers of both final answers are equal, up to `tolerance` (absolute, or a share of the larger).

    Where one side alone has a percent sign, 50% is right for 50 as well as for 0.5: questions mean either.

    >>> same_number("It costs $1,250.00", "1250", 1e-6), same_number("a half, 1/2", "50%", 1e-6)
    (True, True)
    """
    found, wanted = last_number(final_answer(text)), last_number(final_answer(answer))
    if found is None or wanted is None:
        return False
    other = {(True, False): found[0] / 100, (False, True): found[0] * 100}.get((found[1], wanted[1]), found[0])
    return any(math.isclose(each, wanted[0], rel_tol=tolerance, abs_tol=tolerance) for each in (found[0], other))


def last_number(text: str) -> tuple[float, bool] | None:
    """(the last number of a text, whether a percent sign follows it); None where there is none.

    Reads 1,234.5, -3, .5, 2e3, 3/4, 1 1/2, \\frac{3}{4}, $5 and 12%; a digit inside a word (H2O) is no number.
    """
    plain = text.replace("\N{MINUS SIGN}", "-").replace("\\$", "$").replace("\\!", "")
    for found in reversed(list(NUMBER.finditer(plain))):
        value = _value(found)
        if value is not None:
            return value, bool(found["percent"])
    return None


def _value(found: re.Match[str]) -> float | None:
    """The number of a match, as a float: an exponent of a million digits is infinite, and no number, at once."""
    if found["above"] or found["whole"]:
        below = float(found["below"] or found["bottom"])
        above = float(found["above"] or found["top"]) + float(found["whole"] or 0) * below
    else:
        above = float(found["number"].replace(",", "") + (found["exponent"] or ""))
        below = float(found["denominator"] or 1)
    if not below or not math.isfinite(above) or not math.isfinite(below):
        return None
    return (-1 if found["sign"] else 1) * above / below
