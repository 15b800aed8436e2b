"""Methods with a model of what people prefer, from the run files that `preflow init` writes to the page, on a tiny model."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import tiny
from journey_kit import Desk, executed
from preflow.artifacts.io import read_rows, read_stamp
from preflow.artifacts.kinds import COMPLETIONS, JUDGMENTS, PAIRS
from preflow.losses.slic import slic
from preflow.models.load import load_model
from preflow.models.sequence_logps import SequenceLogps
from preflow.text.tokenizer import Tokenizer
from preflow.tracking.journal import latest, read_journal, series
from preflow.training.reference import online_logps
from preflow.training.streams import stream_of

pytestmark = pytest.mark.journey

SCORERS = """
def helpfulness(prompts, completions):
    return [float(len(text)) for text in completions]


def independent(prompts, completions):
    return [sum(c in "aeiou" for c in text) / (1 + len(text)) for text in completions]
"""
QUICK = {
    "data.heldout_fraction": 0.3,
    "evaluate.max_new_tokens": 4,
    "evaluate.kl_samples_per_prompt": 0,
}
REWARD_MODEL = {"reward_model.learning_rate": 3e-3, "reward_model.epochs": 4, "reward_model.batch_size": 8}
SAMPLED = {"generate.candidates_per_prompt": 4, "generate.max_new_tokens": 6, "train.learning_rate": 1e-3}
RL = {
    "rl.rollouts": 2,
    "rl.prompts_per_rollout": 4,
    "rl.samples_per_prompt": 4,
    "rl.max_new_tokens": 6,
    "rl.batch_size": 16,
    "rl.learning_rate": 1e-3,
}
AFTER = {"evaluate", "report"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with human pairs of other prompts, and prompts that know their answers."""
    desk = Desk(tmp_path_factory.mktemp("rewards") / "desk")
    (desk.folder / "my_scorers.py").write_text(SCORERS)
    desk.write_pairs(30, "human_pairs.jsonl")
    texts = [row["prompt"][0]["content"] for row in tiny.prompt_rows(12, seed=3)]
    tiny.write_jsonl(desk.folder / "prompts.jsonl", ({"prompt": text, "answer": "7"} for text in texts))
    answers = ({"prompt": text, "completion": "good the cat likes a tree"} for text in texts)
    tiny.write_jsonl(desk.folder / "answers.jsonl", answers)
    targets = ({"prompt": text, "completion": "the dog reads a good book"} for text in texts)
    tiny.write_jsonl(desk.folder / "targets.jsonl", targets)
    return desk


def play(desk: Desk, method: str, preset: str | None = None, **more: Any) -> dict[str, Any]:
    """What `preflow init` writes, shrunk. `more` holds further sections, and settings as section__key=value."""
    content = yaml.safe_load(desk.call("init", method, *(["--preset", preset] if preset else [])))
    content["model"] = "./model"
    sections = set(content) | {name for name in more if "__" not in name}
    content |= {name: value for name, value in more.items() if "__" not in name}
    settings = {**QUICK, **REWARD_MODEL, **SAMPLED, **RL}
    settings |= {name.replace("__", "."): value for name, value in more.items() if "__" in name}
    for name, value in settings.items():
        section, _, key = name.partition(".")
        if section in sections:
            content[section] = {**content[section], key: value}
    (desk.folder / f"{method}.yaml").write_text(yaml.safe_dump(content))
    return desk.run(f"{method}.yaml")


def output(run: dict[str, Any], task: str, name: str) -> str:
    return next(step["outputs"][name] for step in run["steps"] if step["name"] == task)


def curve(run: dict[str, Any], task: str, name: str = "loss") -> list[float]:
    return [value for _, value in series(read_journal(output(run, task, "journal")), f"train/{name}")]


def check_steps(run: dict[str, Any], expected: set[str]) -> None:
    """These are its steps, and all of them ran, but for imports that another run of this desk made."""
    assert {step["name"] for step in run["steps"]} == expected
    assert executed(run) >= {name for name in expected if not name.startswith("import-data")}


def check_reward_model(run: dict[str, Any]) -> None:
    """Its first loss is ln 2, and it tells good from bad on pairs that it has not seen."""
    found = curve(run, "train-reward-model")
    assert found[0] == pytest.approx(math.log(2), abs=1e-6)
    assert found[-1] < found[0]
    measured = latest(read_journal(output(run, "train-reward-model", "journal")))
    assert measured["eval/reward_model_accuracy"] > 0.5
    assert measured["eval/reward_model_accuracy_low"] <= measured["eval/reward_model_accuracy_high"]


def test_rlhf_from_pairs(desk: Desk) -> None:
    """The starter: a reward model on the pairs, PPO on their prompts; the first loss of the policy is zero."""
    run = play(desk, "rlhf")
    check_steps(run, {"import-data", "train-reward-model", "train-rl", *AFTER})
    check_reward_model(run)
    assert curve(run, "train-rl", "policy_loss")[0] == pytest.approx(0, abs=1e-6)
    assert curve(run, "train-rl", "kl")[0] == pytest.approx(0, abs=1e-4)
    assert {"eval/win_rate", "eval/reward_accuracy"} <= set(run["metrics"])
    assert executed(play(desk, "rlhf")) == set()
    again = play(desk, "rlhf", rl__beta=0.2)
    assert executed(again) == {"train-rl", *AFTER}, "the reward model is reused"


def test_rlhf_after_supervised_fine_tuning_with_group_baselines(desk: Desk) -> None:
    """What is fine-tuned is the reward model's start, the policy's start, its reference, and what is measured against."""
    sft = {"data": {"files": "answers.jsonl"}, "learning_rate": 1e-3, "batch_size": 4}
    human = {"data": {"files": "human_pairs.jsonl"}}
    data = {"prompts": "prompts.jsonl"}
    run = play(desk, "rlhf", sft=sft, data=data, reward_model=human, rl__algorithm="rloo")
    trained = {"sft", "train-reward-model", "train-rl"}
    check_steps(run, {"import-data", "import-data-2", "import-data-3", *trained, *AFTER})
    check_reward_model(run)
    start = output(run, "sft", "trained")
    for task, name in (("train-reward-model", "model"), ("train-rl", "model"), ("evaluate", "reference")):
        assert read_journal(output(run, task, "journal"))["inputs"][name]["path"] == start
    assert curve(run, "train-rl", "policy_loss")[0] == pytest.approx(0, abs=1e-6)


def test_rlhf_with_answers_that_can_be_checked(desk: Desk) -> None:
    run = play(desk, "rlhf", "verifiable")
    check_steps(run, {"import-data", "train-rl", *AFTER})
    assert all(0 <= score <= 1 for score in curve(run, "train-rl", "score"))


def test_slic_direct(desk: Desk) -> None:
    """The starter, on pairs as they are: the first loss is the hinge on the start model's own log-probs."""
    run = play(desk, "slic", train__batch_size=64, train__epochs=3, train__learning_rate=1e-3)
    check_steps(run, {"import-data", "train-preference", *AFTER})
    tokenizer = Tokenizer.load(read_journal(output(run, "train-preference", "journal"))["inputs"]["tokenizer"]["path"])
    stream = stream_of(output(run, "import-data", "data"), tokenizer)
    model = SequenceLogps(load_model(desk.folder / "model"))
    logps, _ = online_logps(model, stream.store, micro_batch_tokens=512, device=torch.device("cpu"))
    sides = (torch.from_numpy(logps[stream.roles[role]]) for role in ("chosen", "rejected"))
    found = curve(run, "train-preference")
    assert found[0] == pytest.approx(slic(*sides, delta=1.0).mean().item(), rel=1e-4)
    assert found[-1] < found[0]
    assert executed(play(desk, "slic", train__batch_size=64, train__epochs=3, train__learning_rate=1e-3)) == set()


def test_slic_samples_and_ranks_with_a_trained_ranker(desk: Desk) -> None:
    run = play(desk, "slic", "sample_and_rank")
    ranked = {"generate-candidates", "judge-candidates", "build-pairs", "train-preference"}
    check_steps(run, {"import-data", "import-data-2", "train-reward-model", *ranked, *AFTER})
    check_reward_model(run)
    judgments = list(read_rows(output(run, "judge-candidates", "judgments"), JUDGMENTS))
    prompts = read_stamp(output(run, "import-data", "data")).rows
    assert len(judgments) == prompts * 3 * 2, "a tournament of four in both orders"
    assert len(list(read_rows(output(run, "build-pairs", "pairs"), PAIRS))) <= prompts * 3


def test_slic_samples_and_scores_towards_the_best_or_the_targets(desk: Desk) -> None:
    """Random pairs by score; the regulariser's target is the prompt's best candidate, or rows of one's own."""
    run = play(desk, "slic", "sample_and_score")
    made = {"generate-candidates", "score-candidates", "build-pairs", "train-preference"}
    assert executed(run) >= made - {"generate-candidates"}
    assert curve(run, "train-preference", "best_logps")[0] < 0
    other = play(desk, "slic", "sample_and_score", targets={"files": "targets.jsonl"}, loss__target="targets")
    assert executed(other) == {"import-data-2", "train-preference", *AFTER}
    assert curve(other, "train-preference", "companion_completion_logps")[0] < 0


def test_rso_as_in_the_paper(desk: Desk) -> None:
    """64 candidates to 8, here 6 to 4: scored against a baseline by a ranker that was trained on human pairs, which has the
    word on the pairs too."""
    run = play(desk, "rso", "paper", generate__candidates_per_prompt=6, rejection__num_accepted=4)
    steps = {"generate-candidates", "score-candidates", "rejection-sample", "judge-candidates", "build-pairs"}
    assert executed(run) >= {*steps - {"generate-candidates"}, "reference-logps", "train-preference", *AFTER}
    check_reward_model(run)
    scored = list(read_rows(output(run, "score-candidates", "scored"), COMPLETIONS))
    assert {row["unit"] for row in scored} == {"log_odds"}
    by_prompt: dict[str, list[float]] = {}
    for row in scored:
        by_prompt.setdefault(row["prompt_id"], []).append(row["score"])
    assert all(0.0 in scores for scores in by_prompt.values()), "the baseline has no lead over itself"
    assert max(abs(score) for scores in by_prompt.values() for score in scores) <= 13.82
    assert np.std([score for scores in by_prompt.values() for score in scores]) > 0
    assert curve(run, "train-preference")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert executed(play(desk, "rso", "paper", generate__candidates_per_prompt=6, rejection__num_accepted=4)) == set()


def test_what_does_not_go_together_is_said_before_anything_runs(desk: Desk) -> None:
    (desk.folder / "bad.yaml").write_text(desk.call("init", "rlhf").replace("./my-model", "./model"))
    for change, words in [
        ("reward_model.head=pairwise", "Set head: scalar"),
        ("rl.kl_gain=0.2", "there is no kl_target"),
        ("score.scorer=my_scorers.py:helpfulness", "`reward_model` has no effect"),
    ]:
        found = desk.start("check", "bad.yaml", "--set", change).communicate(timeout=300)
        assert words in "".join(found), found
