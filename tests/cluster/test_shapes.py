"""A workflow of every other shape as pods, from what `init` writes: labels, unlearning, stages, RL, and rounds with a history."""

import json
from typing import Any

import pytest

import tiny
from cluster.lab import Lab, files_of

pytestmark = pytest.mark.cluster

QUICK = {"model": "./model", "evaluate.max_new_tokens": 4, "evaluate.max_prompts": 4}
TRAIN = {"train.learning_rate": 1e-3, "train.batch_size": 6}
SHAPES: dict[str, dict[str, Any]] = {
    "kto": TRAIN | {"data.heldout_fraction": 0.3},
    "npo": TRAIN | {"unlearning.max_new_tokens": 6, "train.epochs": 2},
    "sdpo": TRAIN,
    "rlhf": {
        "reward_model.learning_rate": 3e-3, "reward_model.batch_size": 8, "rl.rollouts": 2, "rl.prompts_per_rollout": 4,
        "rl.samples_per_prompt": 2, "rl.max_new_tokens": 6, "rl.batch_size": 8, "rl.learning_rate": 1e-3,
    },
    "dno": TRAIN | {"rounds.count": 2, "generate.max_new_tokens": 6, "data.heldout_fraction": 0.3},
}  # fmt: skip
PREFER = """

def prefer(prompts, firsts, seconds):
    return [(1 + (len(a) > len(b)) - (len(a) < len(b))) / 2 for a, b in zip(firsts, seconds)]


independent, helpfulness = vowels, short
"""


@pytest.fixture(scope="module")
def rows(lab: Lab) -> None:
    """Rows of every kind beside the run files, as the starters name them."""
    folder = lab.desk.folder
    pairs = [(row["prompt"][0]["content"], row["chosen"], row["rejected"]) for row in tiny.pair_rows(24)]
    labelled = [
        {"prompt": prompt, "completion": (chosen, rejected)[number % 2], "label": number % 2 == 0}
        for number, (prompt, chosen, rejected) in enumerate(pairs)
    ]
    facts = [{"question": prompt, "answer": chosen} for prompt, chosen, _ in pairs]
    asked = [row | {"paraphrased_answer": f"indeed {row['answer']}", "perturbed_answer": ["no film"]} for row in facts]
    content = {"labelled": labelled, "forget": facts[:12], "retain": facts[12:], "forget_questions": asked[:12]}
    prompts = [json.loads(line)["prompt"] for line in (folder / "prompts.jsonl").read_text().splitlines()]
    content["teacher"] = [{"prompt": text, "completion": f"A long answer of a teacher to {text}"} for text in prompts]
    for name, each in content.items():
        tiny.write_jsonl(folder / f"{name}.jsonl", each)
    (folder / "my_scorers.py").write_text((folder / "scorers.py").read_text() + PREFER)


@pytest.fixture(scope="module")
def submitted(lab: Lab, rows: None) -> dict[str, dict[str, Any]]:
    """All of them at once."""
    going = {}
    for method, settings in SHAPES.items():
        (lab.desk.folder / f"{method}.yaml").write_text(lab.desk.call("init", method))
        going[method] = lab.start(f"{method}.yaml", *options(settings))
    return {method: lab.finish(process) for method, process in going.items()}


def options(settings: dict[str, Any]) -> list[str]:
    return [part for name, value in (QUICK | settings).items() for part in ("--set", f"{name}={json.dumps(value)}")]


@pytest.mark.parametrize("method", list(SHAPES))
def test_pods_make_what_a_local_run_makes(lab: Lab, submitted: dict[str, dict[str, Any]], method: str) -> None:
    run = submitted[method]
    local = lab.desk.run(f"{method}.yaml", *options(SHAPES[method]))
    assert [step["name"] for step in run["steps"]] == [step["name"] for step in local["steps"]]
    assert lab.files(run["run"]) == files_of(lab.folder(local["run"]))
