"""Methods that train in rounds, from the run file that `preflow init` writes to the page, on a tiny model."""

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

import tiny
from journey_kit import Desk, executed
from preflow.artifacts.io import read_rows, read_stamp
from preflow.artifacts.kinds import COMPLETIONS, JUDGMENTS, PAIRS
from preflow.tracking.journal import read_journal, series

pytestmark = pytest.mark.journey

SCORERS = """
def helpfulness(prompts, completions):
    return [float(len(text)) for text in completions]


def independent(prompts, completions):
    return [sum(c in "aeiou" for c in text) / (1 + len(text)) for text in completions]


def prefer(prompts, firsts, seconds):
    return [(1 + (len(a) > len(b)) - (len(a) < len(b))) / 2 for a, b in zip(firsts, seconds)]
"""
QUICK = {
    "model": "./model",
    "data.heldout_fraction": 0.3,
    "rounds.count": 2,
    "generate.max_new_tokens": 6,
    "train.learning_rate": 1e-3,
    "evaluate.max_new_tokens": 4,
    "evaluate.kl_samples_per_prompt": 0,
}
CLOSED_FORMS = {"dno": math.log(2), "online_dpo": math.log(2), "spo": 0.0}


def rounds_of(names: set[str]) -> set[str]:
    return names | {f"{name}-2" for name in names}


ROUNDS = rounds_of({"generate-candidates", "judge-candidates", "build-pairs", "train-preference"})
REFERENCE = rounds_of({"reference-logps"})
LAST = {"rounds__keep": "last"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "desk")
    (desk.folder / "my_scorers.py").write_text(SCORERS)
    prompts = [row["prompt"][0]["content"] for row in tiny.prompt_rows(14)]
    tiny.write_jsonl(desk.folder / "prompts.jsonl", ({"prompt": text} for text in prompts))
    answers = ({"prompt": text, "completion": f"The answer to {text} is yes, of course."} for text in prompts)
    tiny.write_jsonl(desk.folder / "teacher.jsonl", answers)
    return desk


def play(desk: Desk, method: str, **changes: Any) -> dict[str, Any]:
    """The starter run file, shrunk, with further settings (`__` for a dot)."""
    (desk.folder / f"{method}.yaml").write_text(desk.call("init", method))
    settings = QUICK | {name.replace("__", "."): value for name, value in changes.items()}
    return desk.run(
        f"{method}.yaml", *(part for name, value in settings.items() for part in ("--set", f"{name}={value}"))
    )


def output(run: dict[str, Any], task: str, name: str) -> str:
    return next(step["outputs"][name] for step in run["steps"] if step["name"] == task)


def losses(run: dict[str, Any], task: str) -> list[float]:
    return [value for _, value in series(read_journal(output(run, task, "journal")), "train/loss")]


def closed_form(run: dict[str, Any], method: str) -> float:
    """The loss of the first step, where policy and reference agree: known beforehand, or a mean of the targets' squares."""
    if method in CLOSED_FORMS:
        return CLOSED_FORMS[method]
    rows = list(read_rows(output(run, "build-pairs", "pairs"), PAIRS))
    return 1000**2 * fmean((row[f"{side}_win_rate"] - 0.5) ** 2 for row in rows for side in ("chosen", "rejected"))


@pytest.mark.parametrize(
    ("method", "changes", "steps"),
    [
        (
            "dno",
            {},
            REFERENCE | rounds_of({"evaluate"}) | {"import-data-2", "merge-history", "select-model", "evaluate-3"},
        ),
        ("sppo", LAST, REFERENCE | {"evaluate"}),
        ("spo", LAST, {"evaluate"}),
        ("online_dpo", {}, REFERENCE | {"evaluate"}),
    ],
)
def test_a_starter_runs_and_is_reused(desk: Desk, method: str, changes: dict[str, Any], steps: set[str]) -> None:
    """The choice of the best round is made once: it costs an evaluation per round."""
    run = play(desk, method, **changes)
    assert executed(run) == ROUNDS | steps | {"import-data", "report"}
    assert executed(play(desk, method, **changes)) == set()
    first = losses(run, "train-preference")[0]
    assert first == pytest.approx(closed_form(run, method), rel=1e-4, abs=1e-4)
    assert run["metrics"]["eval/win_rate"] >= 0
    moved = [
        Path(output(run, task, "trained")) / "model.safetensors" for task in ("train-preference", "train-preference-2")
    ]
    assert moved[0].read_bytes() != moved[1].read_bytes()
    _check_shares(run)
    MORE.get(method, lambda run: None)(run)


def _check_shares(run: dict[str, Any]) -> None:
    """Every training prompt is sampled in one round."""
    sampled = [
        {row["prompt_id"] for row in read_rows(output(run, f"generate-candidates{end}", "completions"), COMPLETIONS)}
        for end in ("", "-2")
    ]
    assert not sampled[0] & sampled[1]
    assert len(sampled[0] | sampled[1]) == read_stamp(output(run, "import-data", "data")).rows


def _check_history(run: dict[str, Any]) -> None:
    """The teacher's answers took part; the second round trains on a third of the first one's pairs again."""
    first, second = (list(read_rows(output(run, f"build-pairs{end}", "pairs"), PAIRS)) for end in ("", "-2"))
    assert {row["source"] for row in first} >= {"teacher_over_student"}
    merged = list(read_rows(output(run, "merge-history", "merged"), PAIRS))
    assert len(merged) == len(second) + int(0.3 * len(first))
    assert losses(run, "train-preference-2")[0] == pytest.approx(math.log(2), abs=1e-4), "held against its own start"


def _check_advantages(run: dict[str, Any]) -> None:
    rows = list(read_rows(output(run, "build-pairs", "pairs"), COMPLETIONS))
    assert sum(row["advantage"] for row in rows) == pytest.approx(0, abs=1e-9)


MORE = {"dno": _check_history, "spo": _check_advantages}


def test_intransitive_preferences_reach_the_training_rows(desk: Desk) -> None:
    """Texts are rock, paper or scissors by their first word's place in the alphabet: a matrix judges them."""
    words = sorted({text.split()[0] for text in tiny.WORDS})
    labels = ["good", *words[:2]]
    preferences = [[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]
    matrix = {"labels": labels, "preferences": preferences, "row": "first_word", "otherwise": labels[0]}
    (desk.folder / "hands.json").write_text(json.dumps(matrix))
    teacher = tiny.write_jsonl(
        desk.folder / "teacher.jsonl",
        (
            {"prompt": row["prompt"][0]["content"], "completion": f"{labels[1 + number % 2]} it is"}
            for number, row in enumerate(tiny.prompt_rows(14))
        ),
    )
    run = play(
        desk,
        "dno",
        judge__judge="hands.json",
        teacher__files=teacher.name,
        rounds__count=1,
        pairs__min_positive=0.0,
        pairs__student_margin=0.05,
        pairs__teacher_margin=0.05,
        pairs__labels="soft",
    )
    found = {row["probability"] for row in read_rows(output(run, "judge-candidates", "judgments"), JUDGMENTS)}
    assert found <= {value for line in preferences for value in line}
    assert {0.9, 0.1} <= found or {0.2, 0.8} <= found
    pairs = list(read_rows(output(run, "build-pairs", "pairs"), PAIRS))
    assert {round(row["preference"], 6) for row in pairs} <= {0.9, 0.1, 0.8, 0.2, 0.5}


def test_scores_instead_of_a_judge(desk: Desk) -> None:
    run = play(desk, "sppo", judge="null", score__scorer="my_scorers.py:helpfulness", rounds__count=1)
    names = executed(run)
    assert "score-candidates" in names
    assert "judge-candidates" not in names
    assert losses(run, "train-preference")[0] == pytest.approx(closed_form(run, "sppo"), rel=1e-4)
