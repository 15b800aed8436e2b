"""A workflow of every other shape as pods, from what `init` writes: unlearning, stages, RL, and rounds with a history."""

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from cluster.lab import Lab
from journey_kit import executed

pytestmark = pytest.mark.cluster

QUICK = {
    "model": "./model",
    "evaluate.kl_samples_per_prompt": 0,
    "evaluate.max_new_tokens": 4,
    "evaluate.max_prompts": 4,
}
TRAIN = {"train.learning_rate": 1e-3, "train.batch_size": 6}
SHAPES: dict[str, dict[str, Any]] = {
    "npo": TRAIN | {"unlearning.max_new_tokens": 6, "train.epochs": 2},
    "sdpo": TRAIN | {"stages.control": False},
    "rlhf": {
        "data.heldout_fraction": 0.2, "reward_model.learning_rate": 3e-3, "reward_model.batch_size": 8, "rl.rollouts": 2,
        "rl.prompts_per_rollout": 4, "rl.samples_per_prompt": 2, "rl.max_new_tokens": 6, "rl.batch_size": 8, "rl.learning_rate": 1e-3,
    },
    "dno": TRAIN | {"rounds.count": 2, "generate.max_new_tokens": 6, "data.heldout_fraction": 0.3},
}  # fmt: skip
PREFER = """

def prefer(prompts, firsts, seconds):
    return [(1 + (len(a) > len(b)) - (len(a) < len(b))) / 2 for a, b in zip(firsts, seconds)]


independent, helpfulness = vowels, short
"""


def write_rows(folder: Path) -> None:
    """Rows of every kind beside the run files, as the starters name them."""
    pairs = [(row["prompt"][0]["content"], row["chosen"], row["rejected"]) for row in tiny.pair_rows(24)]
    facts = [{"question": prompt, "answer": chosen} for prompt, chosen, _ in pairs]
    asked = [row | {"paraphrased_answer": f"indeed {row['answer']}", "perturbed_answer": ["no film"]} for row in facts]
    content = {"forget": facts[:12], "retain": facts[12:], "forget_questions": asked[:12]}
    prompts = [json.loads(line)["prompt"] for line in (folder / "prompts.jsonl").read_text().splitlines()]
    content["teacher"] = [{"prompt": text, "completion": f"A long answer of a teacher to {text}"} for text in prompts]
    for name, each in content.items():
        tiny.write_jsonl(folder / f"{name}.jsonl", each)
    (folder / "my_scorers.py").write_text((folder / "scorers.py").read_text() + PREFER)


STEPS = {
    "npo": {"import-data-4", "train-preference", "evaluate", "evaluate-unlearning"},
    "sdpo": {"split-stages", "reference-logps-2", "train-preference-2", "evaluate"},
    "rlhf": {"train-reward-model", "train-rl", "evaluate"},
    "dno": {"generate-candidates-2", "judge-candidates-2", "merge-history", "train-preference-2", "select-model", "evaluate-3"},
}  # fmt: skip


def options(settings: dict[str, Any]) -> list[str]:
    return [part for name, value in (QUICK | settings).items() for part in ("--set", f"{name}={json.dumps(value)}")]


def test_each_runs(lab: Lab) -> None:
    """At once; what a step makes there and here is compared elsewhere."""
    write_rows(lab.desk.folder)
    going = {}
    for method, settings in SHAPES.items():
        (lab.desk.folder / f"{method}.yaml").write_text(lab.desk.call("init", method))
        going[method] = lab.start(f"{method}.yaml", *options(settings))
    for method, process in going.items():
        run = lab.finish(process)
        done = executed(run)
        assert STEPS[method] < done and done == {step["name"] for step in run["steps"]}
        assert any(name.startswith("eval/") for name in run["metrics"])
