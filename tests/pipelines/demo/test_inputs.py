"""What the demo feeds its workflow: openings, a run file, and two scorers that know nothing of each other."""

import json
import re
from pathlib import Path

import pytest

from preflow.settings.plan import make_plan
from preflow.settings.runfile import load_run_file
from preflow_pipelines import demo
from preflow_pipelines.demo.scorers import judge, reward

FOLDER = Path(demo.__file__).parent
ROWS = [json.loads(line) for line in (FOLDER / "prompts.jsonl").read_text().splitlines()]
TRAIN = [row["prompt"] for row in ROWS if row["split"] == "train"]
HELDOUT = [row["prompt"] for row in ROWS if row["split"] == "heldout"]
GOOD = [" was wonderful. The food was delicious and everybody was happy.", " is a beautiful, excellent film."]
BAD = [" was awful. The food was disgusting and everybody was angry.", " is a boring, terrible film."]


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z']+", text.lower())
    return {tuple(words[place : place + n]) for place in range(len(words) - n + 1)}


def test_there_are_enough_openings_and_no_others() -> None:
    assert len(TRAIN) >= 96
    assert len(HELDOUT) >= 32
    assert len(TRAIN) + len(HELDOUT) == len(ROWS) == len({row["prompt"].lower() for row in ROWS})


def test_openings_are_cut_where_a_model_can_go_on() -> None:
    for prompt in TRAIN + HELDOUT:
        assert prompt == prompt.strip()
        assert prompt[0].isupper()
        assert not re.search(r"[.!?,;:]$|  ", prompt)
        assert 5 <= len(prompt.split()) <= 20


def test_splits_share_no_phrase() -> None:
    seen = set().union(*(grams(prompt, 5) for prompt in TRAIN))
    assert not [prompt for prompt in HELDOUT if grams(prompt, 5) & seen]


def test_openings_do_not_lean() -> None:
    """Both scorers find nearly all of them neutral, and their mean near zero."""
    for scorer in (reward, judge):
        scores = scorer([], TRAIN + HELDOUT)
        assert abs(sum(scores) / len(scores)) < 0.12
        assert sum(abs(score) < 0.5 for score in scores) / len(scores) > 0.9


@pytest.mark.parametrize("scorer", [reward, judge])
def test_scorers_tell_praise_from_blame(scorer: object) -> None:
    assert callable(scorer)
    praise, blame = scorer([[]] * 2, GOOD), scorer([[]] * 2, BAD)
    assert min(praise) > 0.4
    assert max(blame) < -0.4
    assert scorer([], ["", " The table has four legs."]) == [0.0, 0.0]
    assert all(type(score) is float and -1 <= score <= 1 for score in praise + blame)


def test_the_run_file_means_something(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    plan = make_plan(load_run_file(FOLDER / "rso.yaml", (f"model={tmp_path / 'model'}", "seed=3")), FOLDER)
    seeded = {name for name, section in plan.sections.items() if json.loads(section).get("seed") == 3}
    assert {"generate", "rejection", "train", "evaluate"} <= seeded
    assert not json.loads(plan.sections["evaluate"])["judge_is_scorer"]
