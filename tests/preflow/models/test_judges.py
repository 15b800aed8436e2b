"""Judges that need no network: a function of the user's, a matrix; both orders."""

import json
from pathlib import Path
from typing import Any

import pytest

from preflow.errors import ScorerError
from preflow.models.judges import FunctionJudge, MatrixJudge, both_orders
from preflow.selection.games import minimax_winners
from preflow.selection.win_rates import cyclic_triads, order_flip_rate, preference_matrix

PROMPT = [{"role": "user", "content": "Say something."}]
ROCK_PAPER_SCISSORS = {
    "labels": ["rock", "paper", "scissors"],
    "preferences": [[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]],
    "row": "first_word",
}


def write(tmp_path: Path, code: str) -> Path:
    path = tmp_path / "my_judges.py"
    path.write_text(code)
    return path


def function_judge(tmp_path: Path, body: str, **options: Any) -> FunctionJudge:
    return FunctionJudge(write(tmp_path, f"def prefer(prompts, firsts, seconds):\n    {body}\n"), "prefer", **options)


def matrix_file(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "rps.json"
    path.write_text(json.dumps(ROCK_PAPER_SCISSORS | changes))
    return path


def test_function_is_called_in_batches_with_messages(tmp_path: Path) -> None:
    body = "assert prompts[0][0]['role'] == 'user'; return [len(f) > len(s) for f, s in zip(firsts, seconds)] if len(firsts) < 3 else 1 / 0"
    judge = function_judge(tmp_path, body, batch_size=2)
    assert judge.probabilities([PROMPT] * 5, ["aa", "a", "aa", "a", "aa"], ["a", "aa"] * 2 + ["a"]) == [1, 0, 1, 0, 1]
    assert judge.name == "prefer"
    assert len(judge.version) == 12
    assert judge.probabilities([], [], []) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [0.5]", "returned 1 numbers for 2 questions"),
        ("return [0.5, 1.5]", r"question 2: returned 1.5, expected P\(first wins\)"),
        ("return [float('nan'), 0.5]", "question 1: returned nan"),
        ("return [0.5, 'A']", "question 2: returned 'A', expected a number"),
        ("return [0.5, None]", "question 2: returned None"),
        ("raise KeyError('score')", r"my_judges.py line 2: KeyError: 'score', judging questions 1 to 2"),
        ("return 3", "TypeError"),
        ("raise SystemExit(0)", "my_judges.py line 2: SystemExit: 0"),
    ],
)
def test_what_a_function_may_not_answer(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ScorerError, match=message):
        function_judge(tmp_path, body).probabilities([PROMPT] * 2, ["a", "b"], ["c", "d"])


def test_a_file_without_the_function(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="no function 'prefer'. Functions there: favour"):
        FunctionJudge(write(tmp_path, "def favour(prompts, firsts, seconds): ..."), "prefer")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def prefer(prompts, completions): ...",
            r"takes \(prompts, completions\), expected \(prompts, firsts, seconds\)",
        ),
        ("class prefer: ...", "a class, expected a function"),
    ],
)
def test_a_function_that_takes_something_else(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ScorerError, match=words):
        FunctionJudge(write(tmp_path, text), "prefer")


def test_a_matrix_makes_intransitive_preferences(tmp_path: Path) -> None:
    judge = MatrixJudge.load(matrix_file(tmp_path))
    texts = ["Rock, of course.", "paper!", "Scissors are best"]
    rows = [
        {"first_id": first, "second_id": second, "probability": judge.probabilities([PROMPT], [first], [second])[0]}
        for first in texts
        for second in texts
        if first != second
    ]
    matrix = preference_matrix(rows, texts)
    assert matrix.tolist() == ROCK_PAPER_SCISSORS["preferences"]
    assert cyclic_triads(matrix) == (1, 1)
    assert order_flip_rate(rows) == 0
    assert minimax_winners(matrix)[0] == pytest.approx([1 / 3] * 3)


def test_how_a_text_names_its_row(tmp_path: Path) -> None:
    def judge(row: str, otherwise: str | None = None) -> MatrixJudge:
        return MatrixJudge.load(matrix_file(tmp_path, row=row, otherwise=otherwise))

    assert judge("last_word").row("I take PAPER.") == 1
    assert judge("text").row(" scissors\n") == 2
    assert judge("first_word", otherwise="rock").row("Well, paper") == 0
    assert judge("first_word", otherwise="Scissors").row("") == 2
    assert judge("first_word").probabilities([PROMPT], ["rock a"], ["rock b"]) == [0.5]
    with pytest.raises(ScorerError, match="'Well, paper' names none of the rows rock, paper, scissors"):
        judge("first_word").row("Well, paper")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preferences": [[0.5, 0.1], [0.9, 0.5]]}, "square matrix"),
        ({"labels": ["rock", "Rock", "paper"]}, "different labels"),
        ({"preferences": [[0.5, 0.0, 1.0], [0.9, 0.5, 0.0], [0.0, 1.0, 0.5]]}, r"P\(rock beats paper\) is 0.0 .* 0.9"),
        ({"preferences": [[0.6, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]]}, r"P\(rock beats rock\) is 0.6"),
        ({"row": "second_word"}, "row is 'second_word', expected one of text, first_word, last_word"),
        ({"otherwise": "lizard"}, "otherwise is 'lizard'"),
        ({"rows": 3}, "no preference matrix"),
        ({"labels": [1, 2, 3]}, "no preference matrix"),
    ],
)
def test_files_that_are_no_preference_matrix(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScorerError, match=message):
        MatrixJudge.load(matrix_file(tmp_path, **changes))


def test_no_file_and_no_json(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", write(tmp_path, "{"), write(tmp_path, "[" * 100_000)):
        with pytest.raises(ScorerError, match="no preference matrix .* Expected JSON"):
            MatrixJudge.load(path)


def test_both_orders(tmp_path: Path) -> None:
    judge = function_judge(tmp_path, "return [0.9 if f < s else 0.6 for f, s in zip(firsts, seconds)]")
    assert both_orders(judge, [PROMPT] * 2, ["a", "d"], ["b", "c"]) == [(0.9, 0.6), (0.6, 0.9)]
