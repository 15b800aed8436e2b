"""Every method on a real model and real preference data, small: does it run, does it start where it must, is it finite?

PREFLOW_REAL_DATA=<folder> pytest -m real_data -s tests/journeys/test_real_data.py

The folder holds the JSONL files named in `FILES`; the model is the demo's. Nothing of the data ships with the project.
"""

import gzip
import json
import math
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from journey_kit import ROOT, Desk, executed
from preflow.methods.catalogue import catalogue
from preflow.tracking.journal import read_journal, series
from tiny import write_jsonl

DATA = Path(os.environ.get("PREFLOW_REAL_DATA", "/nowhere"))
pytestmark = [pytest.mark.real_data, pytest.mark.skipif(not DATA.is_dir(), reason="PREFLOW_REAL_DATA is not a folder")]

Row = dict[str, Any]
WORDS = 40
QUICK: Row = {
    "data.heldout_fraction": 0.3,
    "train.learning_rate": 1e-5,
    "train.batch_size": 8,
    "evaluate.max_prompts": 4,
    "evaluate.max_new_tokens": 16,
    "evaluate.kl_samples_per_prompt": 1,
}
SAMPLED: Row = {"generate.max_new_tokens": 16, "generate.top_k": 40}
ROUNDS: Row = {"rounds.count": 2, "generate.max_new_tokens": 16, "generate.candidates_per_prompt": 3}
MORE: dict[str, Row] = {
    "rso": SAMPLED,
    "d2o": SAMPLED | {"generate.candidates_per_prompt": 4},
    "kto": {"data.duplicates": "keep"},  # annotators agree now and then
    "dro": {"train.value_learning_rate": 1e-5},
    "npo": {"train.epochs": 2, "unlearning.max_new_tokens": 16},
    "dno": ROUNDS | {"pairs.min_positive": 0.5, "pairs.teacher_margin": 0.05, "pairs.student_margin": 0.05},
    "sppo": ROUNDS | {"rounds.keep": "last"},
    "spo": ROUNDS | {"rounds.keep": "last", "train.batch_size": 64},  # advantages are 0 over all candidates of a prompt
    "online_dpo": ROUNDS | {"generate.candidates_per_prompt": 2},
    "rlhf": {
        "reward_model.learning_rate": 1e-5,
        "reward_model.batch_size": 8,
        "rl.rollouts": 2,
        "rl.prompts_per_rollout": 4,
        "rl.samples_per_prompt": 2,
        "rl.max_new_tokens": 16,
        "rl.batch_size": 8,
        "rl.learning_rate": 1e-5,
    },
}
FIRST_LOSSES = {
    **dict.fromkeys(("dpo", "beta_dpo", "dpop", "tdpo", "sdpo", "rso", "d2o", "dno", "online_dpo"), math.log(2)),
    "ipo": 25.0,
    "gpo": 1.0,
    "kto": 0.5,
    "spo": 0.0,
}
"""Where policy and reference agree; the others' first loss depends on the model or on the scores."""
TRAINING = {"rlhf": "train-rl"}
CURVE = {"rlhf": "train/policy_loss"}


def rows(name: str) -> Iterator[Row]:
    path = DATA / f"{name}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def short(name: str, count: int, *texts: str) -> list[Row]:
    """The first rows whose prompt and `texts` have at most WORDS words each."""
    found = (row for row in rows(name) if all(_words(row[key]) <= WORDS for key in ("prompt", *texts)))
    return list(islice(found, count))


def _words(text: Any) -> int:
    return sum(len(turn["content"].split()) for turn in text) if isinstance(text, list) else len(text.split())


def keep(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names}


def files() -> dict[str, list[Row]]:
    reviews = list(islice(rows("sentiment/smollm2_review_samples"), 12))
    best = [max(zip(row["gold"], row["completions"], strict=True))[1] for row in reviews]
    pairs = short("pairs/hh_helpful", 28, "chosen", "rejected")
    return {
        "pairs": [keep(row, "prompt", "chosen", "rejected") for row in pairs],
        "prompts": [keep(row, "prompt") for row in reviews],
        "teacher": [{"prompt": row["prompt"], "completion": text} for row, text in zip(reviews, best, strict=True)],
        "labelled": [keep(row, "prompt", "completion", "label") for row in short("binary/tulu_acceptable", 20, "completion")],
        "scored": [keep(row, "prompt", "completion", "score") for row in short("scalar/ultrafeedback_scores", 20, "completion")],
        "negatives": [
            {"prompt": row["prompt"], "completion": row["rejected"]} for row in short("pairs/hh_harmless", 12, "rejected")
        ],
        "forget": list(islice(rows("unlearn/tofu_forget01"), 8)),
        "retain": list(islice(rows("unlearn/tofu_retain99"), 8)),
        "forget_questions": list(islice(rows("unlearn/tofu_forget01_perturbed"), 6)),
    }  # fmt: skip


SCORERS = """
from textblob import TextBlob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

VADER = SentimentIntensityAnalyzer()


def helpfulness(prompts, completions):
    return [VADER.polarity_scores(text)["compound"] for text in completions]


def independent(prompts, completions):
    return [TextBlob(text).sentiment.polarity for text in completions]


def prefer(prompts, firsts, seconds):
    leads = [a - b for a, b in zip(helpfulness(prompts, firsts), helpfulness(prompts, seconds))]
    return [0.5 + lead / 4 for lead in leads]
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    from preflow_pipelines.demo.model import demo_model

    desk = Desk(tmp_path_factory.mktemp("real") / "desk")
    for name, content in files().items():
        write_jsonl(desk.folder / f"{name}.jsonl", content)
    (desk.folder / "my_scorers.py").write_text(SCORERS)
    home = Path(os.environ.get("PREFLOW_HOME", ROOT / ".preflow"))
    (desk.folder / "real-model").symlink_to(demo_model(home))
    return desk


def settings(method: str, content: Row) -> list[str]:
    """What makes a starter quick, for the sections that it has."""
    wanted = {name: value for name, value in QUICK.items() if name.partition(".")[0] in content}
    if method == "npo":  # what is to be forgotten has nothing held out
        del wanted["data.heldout_fraction"]
    chosen = {"model": "./real-model", **wanted, **MORE.get(method, {})}
    return [part for name, value in chosen.items() for part in ("--set", f"{name}={json.dumps(value)}")]


@pytest.mark.parametrize("method", sorted(catalogue()))
def test_method(desk: Desk, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    starter = desk.call("init", method)
    (desk.folder / f"{method}.yaml").write_text(starter)
    run = desk.run(f"{method}.yaml", *settings(method, yaml.safe_load(starter)))
    task = TRAINING.get(method, "train-preference")
    assert task in executed(run)
    journal = next(step["outputs"]["journal"] for step in run["steps"] if step["name"] == task)
    name = "train/loss_npo" if method == "npo" else CURVE.get(method, "train/loss")
    curve = [value for _, value in series(read_journal(journal), name)]
    with capsys.disabled():
        print(f"\n{method:11} {_line(curve, run)}", flush=True)
    assert curve and all(map(math.isfinite, curve))
    if method in FIRST_LOSSES:
        assert curve[0] == pytest.approx(FIRST_LOSSES[method], rel=1e-3, abs=1e-3)
    assert all(map(math.isfinite, run["metrics"].values()))
    assert run["metrics"]["eval/kl_to_reference"] >= 0


SHOWN: dict[str, Callable[[float], str]] = {
    "eval/reward_accuracy": "{:.3f}".format,
    "eval/win_rate": "{:.3f}".format,
    "eval/kl_to_reference": "{:.4f}".format,
}


def _line(curve: list[float], run: Row) -> str:
    shown = [f"{name[5:]} {form(run['metrics'][name])}" for name, form in SHOWN.items() if name in run["metrics"]]
    return ", ".join([f"{len(curve)} steps, loss {curve[0]:.6g} -> {curve[-1]:.6g}", *shown])
