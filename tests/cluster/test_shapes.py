"""A workflow of every other shape as pods, from what `init` writes: unlearning, stages, RL, and rounds with a history.

The one of unlearning has a hardware profile, on a node with labels and advertised devices.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from cluster.lab import MAIN, Lab
from journey_kit import executed

pytestmark = pytest.mark.cluster
GPU = "example.com/gpu"
LABEL = "preflow-test/accelerator"
HARDWARE = f"""
train:
  accelerator: {GPU}
  node_selector: {{{LABEL}: h100}}
  tolerations: [{{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}}]
  cpu: 500m
  memory: 3Gi
  shared_memory: 64Mi
  retries: 1
generate: {{memory: 3Gi}}
"""

QUICK = {
    "model": "./model",
    "evaluate.kl_samples_per_prompt": 0,
    "evaluate.max_new_tokens": 4,
    "evaluate.max_prompts": 4,
}
TRAIN = {"train.learning_rate": 1e-3, "train.batch_size": 6}
SHAPES: dict[str, dict[str, Any]] = {
    "npo": TRAIN | {"hardware": "gpu.yaml", "unlearning.max_new_tokens": 6, "train.epochs": 2},
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


@pytest.fixture(scope="module")
def devices(lab: Lab) -> Iterator[str]:
    """A node with a label and two devices, which nobody has: the scheduler counts them all the same."""
    node = lab.core.list_node().items[0].metadata.name

    def advertise(count: str | None, label: str | None) -> None:
        lab.core.patch_node_status(node, {"status": {"capacity": {GPU: count}}})
        lab.core.patch_node(node, {"metadata": {"labels": {LABEL: label}}})

    advertise("2", "h100")
    lab.until("devices that can be had", lambda: GPU in lab.core.read_node(node).status.allocatable)
    yield node
    advertise(None, None)


@pytest.fixture(scope="module")
def runs(lab: Lab, devices: str) -> dict[str, dict[str, Any]]:
    """All at once."""
    write_rows(lab.desk.folder)
    (lab.desk.folder / "gpu.yaml").write_text(HARDWARE)
    going = {}
    for method, settings in SHAPES.items():
        (lab.desk.folder / f"{method}.yaml").write_text(lab.desk.call("init", method))
        going[method] = lab.start(f"{method}.yaml", *options(settings))
    return {method: lab.finish(process) for method, process in going.items()}


@pytest.mark.parametrize("method", SHAPES)
def test_each_runs(runs: dict[str, dict[str, Any]], method: str) -> None:
    """What a step makes there and here is compared elsewhere."""
    done = executed(runs[method])
    assert STEPS[method] < done and done == {step["name"] for step in runs[method]["steps"]}
    assert any(name.startswith("eval/") for name in runs[method]["metrics"])


def test_training_lands_on_the_node_with_the_device(lab: Lab, devices: str, runs: dict[str, dict[str, Any]]) -> None:
    """Asked of the pod that really ran."""
    (pod,) = lab.pods(runs["npo"]["run"], "train-preference")
    container = next(each for each in pod.spec.containers if each.name == MAIN)
    assert pod.spec.node_name == devices and pod.spec.node_selector == {LABEL: "h100"}
    assert container.resources.limits[GPU] == "1" and container.resources.requests["cpu"] == "500m"
    assert container.resources.limits["memory"] == "3Gi"
    assert any(each.key == "nvidia.com/gpu" and each.operator == "Exists" for each in pod.spec.tolerations)
    volumes = {mount.mount_path: mount.name for mount in container.volume_mounts}
    shared = next(each for each in pod.spec.volumes if each.name == volumes["/dev/shm"])
    assert shared.empty_dir.medium == "Memory" and shared.empty_dir.size_limit == "64Mi"
    assert container.security_context.capabilities.drop == ["ALL"]


def test_without_such_a_node_submit_says_so_before_anything_runs(lab: Lab) -> None:
    (lab.desk.folder / "nowhere.yaml").write_text(HARDWARE.replace(LABEL, f"{LABEL}-elsewhere"))
    lab.desk.run_file("nowhere-run.yaml", hardware="nowhere.yaml")
    before = lab.bucket.names("runs")
    process = lab.desk.start("submit", "nowhere-run.yaml", "--json")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and f"{LABEL}-elsewhere" in errors and "Traceback" not in errors
    assert lab.bucket.names("runs") == before
