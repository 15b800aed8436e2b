"""Steps that fail, die, and go on, as pods."""

import re
import subprocess
from typing import Any

import pytest

from cluster.lab import MAIN, Lab, files_of

pytestmark = pytest.mark.cluster
GATED = """
import os
def gated(prompts, completions):
    if os.environ.get("TEST_GATE") == "closed":
        raise RuntimeError("the gate is closed")
    return [float(len(text)) for text in completions]
"""
LONG = {"train": {"epochs": 30, "checkpoint_steps": 2, "batch_size": 4, "learning_rate": 1e-3}}


def signal_training(lab: Lab, run: str, pod: str, signal: str) -> None:
    """Send a signal to the training's own process, in its pod, when it has saved a checkpoint of its own."""
    before = {entry.name for entry in checkpoints(lab, run)}
    lab.until("a checkpoint", lambda: any(each.name not in before for each in checkpoints(lab, run)))
    code = (
        "import os, pathlib, signal\n"
        "for place in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    words = (place / 'cmdline').read_bytes().split(b'\\0')\n"
        "    if b'python' in words[0] and b'kfp.dsl.executor_main' in words:\n"
        f"        os.kill(int(place.name), signal.{signal})\n"
    )
    kubectl = ["kubectl", "-n", lab.namespace, "exec", pod, "-c", MAIN, "--"]
    subprocess.run([*kubectl, "python3", "-c", code], check=True, capture_output=True)


def checkpoints(lab: Lab, run: str) -> list[Any]:
    lineage = lab.read(run, "run.json")["tasks"]["train-preference"]["lineage"]
    return [entry for entry in lab.bucket.entries(f"checkpoints/{lineage}") if entry.name.endswith("manifest.json")]


def test_a_killed_training_goes_on_from_its_checkpoint(lab: Lab) -> None:
    """By SIGTERM (an eviction), then by SIGKILL (its node is gone): weights as of a run that nobody disturbed."""
    (lab.desk.folder / "retry.yaml").write_text("train: {retries: 2, backoff: 1s}\n")
    lab.desk.run_file("long.yaml", hardware="retry.yaml", **LONG)
    known = lab.runs()
    process = lab.start("long.yaml")
    (run,) = lab.until("the run", lambda: lab.runs() - known)
    for number, signal in enumerate(("SIGTERM", "SIGKILL")):
        pods = lab.until("a pod that trains", lambda n=number: lab.pods(run, "train-preference")[n:])
        signal_training(lab, run, pods[0].metadata.name, signal)
    result = lab.finish(process)
    assert result["run"] == run and result["state"] == "SUCCEEDED"
    pods = [pod.metadata.name for pod in lab.pods(run, "train-preference")]
    assert len(pods) == 3, "the task was tried again, twice"
    assert "stopped after step" in lab.log(pods[0])
    steps = [int(re.findall(r"resumed at step (\d+)", lab.log(pod))[0]) for pod in pods[1:]]
    assert 0 < steps[0] < steps[1]
    assert not checkpoints(lab, run), "checkpoints of a training that is over"
    undisturbed = lab.desk.run("long.yaml")
    weights = files_of(lab.folder(undisturbed["run"]))["train-preference"]
    assert lab.files(run)["train-preference"] == weights


def test_a_step_that_failed_is_retried_and_finished_ones_are_not_repeated(lab: Lab) -> None:
    (lab.desk.folder / "gated.py").write_text(GATED)
    lab.desk.run_file("gated.yaml", evaluate={"judge": "gated.py:gated"}, train={"learning_rate": 2e-3})
    lab.set_gate("closed")
    failed = lab.submit("gated.yaml", code=2)
    assert "the gate is closed" in failed["error"]["message"] and "gated.py line 5" in failed["error"]["message"]
    assert {step["name"]: step["state"] for step in failed["steps"]}["evaluate"] == "FAILED"
    assert "the gate is closed" in lab.desk.call("logs", failed["run"])
    before = {task: lab.pods(failed["run"], task) for task in ("train-preference", "evaluate")}
    lab.set_gate("open")
    run = lab.again("retry", failed["run"])
    assert run["run"] == failed["run"] and run["state"] == "SUCCEEDED"
    after = {task: lab.pods(failed["run"], task) for task in ("train-preference", "evaluate")}
    assert len(after["train-preference"]) == len(before["train-preference"]) == 1
    assert {pod.metadata.uid for pod in after["evaluate"]} != {pod.metadata.uid for pod in before["evaluate"]}
    lab.desk.call("retry", run["run"], code=2)
