"""Answers that can be checked."""

import time

import pytest

from preflow.errors import ScorerError
from preflow.models.verifiable import final_answer, last_number, normalised, verify
from preflow.settings.judge import VerifySettings

EXACT, NUMERIC = VerifySettings(), VerifySettings(rule="numeric")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("First 3, then 4.\n#### 7\n", "7"),
        (r"so \boxed{1} or rather \boxed{\frac{3}{4}} it is", r"\frac{3}{4}"),
        ("The answer is Paris.\nI am sure.", "Paris."),
        ("Answer: 12\nNo: the answer is:\n13", "13"),
        ("Let me think.\n\n  Blue \n", "Blue"),
        (r"an open \boxed{3", r"an open \boxed{3"),
        ("", ""),
    ],
)
def test_final_answer(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It is 1,234.50.", 1234.5),
        ("from 3 to -4", -4),
        ("\N{MINUS SIGN}2", -2),
        ("-$5 and $6", 6),
        ("10-5", 5),
        (".5", 0.5),
        ("2.5e3 m", 2500),
        ("3/4", 0.75),
        ("1 1/2 cups", 1.5),
        (r"\dfrac{1}{8}", 0.125),
        ("7 of H2O", 7),
        ("1,2,3", 3),
        ("5/0", None),
        ("none", None),
        ("1e999999999", None),
    ],
)
def test_last_number(text: str, number: float | None) -> None:
    found = last_number(text)
    assert (found and found[0]) == number


def test_numbers_that_are_equal() -> None:
    right = [
        ("The answer is 1,250 dollars.", "1250"),
        ("50%", "0.5"),
        ("50 %", "50"),
        ("0.5", "50%"),
        ("50", "50%"),
        (r"\boxed{\frac{1}{3}}", "0.33333333"),
        ("#### 72", "She sold 48+24=72 clips\n#### 72"),
    ]
    wrong = [("7", "8"), ("50%", "5"), ("50%", "0.5%"), ("I do not know", "4"), ("4, no, 5", "4")]
    for pairs, score in ((right, 1.0), (wrong, 0.0)):
        completions, answers = zip(*pairs, strict=True)
        assert verify(completions, answers, NUMERIC) == [score] * len(pairs)
    assert verify(["3.1"], ["3.14"], VerifySettings(rule="numeric", tolerance=0.02)) == [1.0]


def test_texts_that_are_equal() -> None:
    right = [
        ("The answer is **New  York**.", "new york"),
        ("(B)", "B"),
        ("I think so.\nAnswer: caf\u00e9", "cafe\u0301"),
        ("two\nlines", "Two lines"),
        ("4", "#### 4"),
    ]
    wrong = [("New York City", "New York"), ("", "x"), ("not Paris", "Paris"), ("b\nlines", "a\nlines")]
    for pairs, score in ((right, 1.0), (wrong, 0.0)):
        completions, answers = zip(*pairs, strict=True)
        assert verify(completions, answers, EXACT) == [score] * len(pairs), pairs
    assert normalised("  ＡＢ\tc! ") == "ab c"


def test_prompts_without_a_usable_answer() -> None:
    for answer in (None, " "):
        with pytest.raises(ScorerError, match="row 2: its prompt has no answer"):
            verify(["1", "2"], ["1", answer], EXACT)
    with pytest.raises(ScorerError, match="row 1: the answer 'many' holds no number"):
        verify(["1"], ["many"], NUMERIC)


def test_nothing_a_model_writes_takes_long() -> None:
    start = time.process_time()
    hostile = ["9" * 50_000, "1," * 25_000, "1 1/" * 10_000, "{" * 50_000, "answer: " * 5_000, r"\boxed{" * 5_000]
    for rule in (EXACT, NUMERIC):
        verify(hostile, ["1"] * len(hostile), rule)
    assert time.process_time() - start < 5
