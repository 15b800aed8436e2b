"""kill -9 anywhere: what was written is whole, what was running continues, and the end is bit-identical."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from journey_kit import Desk, executed

pytestmark = pytest.mark.journey

LONG = {"epochs": 30, "checkpoint_steps": 5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run that nobody disturbs."""
    desk = Desk(tmp_path_factory.mktemp("whole"))
    desk.run_file(train=LONG)
    return desk.run("dpo.yaml")


def weights(run: dict[str, Any]) -> bytes:
    outputs = next(step["outputs"] for step in run["steps"] if step["name"] == "train-preference")
    return (Path(outputs["trained"]) / "model.safetensors").read_bytes()


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def training(desk: Desk) -> tuple[Path, int] | None:
    """(log, pid) of the training step once it has a checkpoint."""
    for status in desk.home.glob("runs/*/steps/train-preference.step.json"):
        log = status.with_name("train-preference.log")
        if log.is_file() and "checkpoint at step" in log.read_text():
            return log, json.loads(status.read_text())["pid"]
    return None


def log_of(run: dict[str, Any], desk: Desk) -> str:
    return (desk.home / "runs" / run["run"] / "steps" / "train-preference.log").read_text()


def test_kill_the_training_step(whole: dict[str, Any], tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run_file(train=LONG)
    process = desk.start("run", "dpo.yaml", "--json")
    _, pid = wait_for(lambda: training(desk))
    os.kill(pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    failed = json.loads(output)
    assert failed["state"] == "FAILED"
    assert "killed" in failed["error"]["message"]
    assert {step["name"]: step["state"] for step in failed["steps"]}["evaluate"] == "SKIPPED"
    run = desk.run("dpo.yaml")
    assert executed(run) == {"train-preference", "evaluate", "report"}
    assert "resumed at step" in log_of(run, desk)
    assert weights(run) == weights(whole)
    assert not list(desk.home.glob("checkpoints/*/step-*")), "a published result needs no checkpoints"


def test_kill_the_command(whole: dict[str, Any], tmp_path: Path) -> None:
    """No orphan step, no wrong cache entry; the run is listed as killed; the next one continues."""
    desk = Desk(tmp_path)
    desk.run_file(train=LONG)
    process = desk.start("run", "dpo.yaml", "--json")
    _, pid = wait_for(lambda: training(desk))
    process.kill()
    process.communicate()
    wait_for(lambda: not alive(pid), 30)
    assert "killed" in desk.call("runs")
    run = desk.run("dpo.yaml")
    assert executed(run) == {"train-preference", "evaluate", "report"}
    assert "resumed at step" in log_of(run, desk)
    assert weights(run) == weights(whole)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_interrupt_saves_and_leaves(whole: dict[str, Any], tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run_file(train=LONG)
    process = desk.start("run", "dpo.yaml", "--json")
    _, pid = wait_for(lambda: training(desk))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    wait_for(lambda: not alive(pid), 30)
    assert weights(desk.run("dpo.yaml")) == weights(whole)


KILLED_INSIDE = """
import os, signal, sys
from pathlib import Path
import {module} as module
from preflow.steps.kit import Step
from preflow.steps.train_preference.step import run
original, calls = module.{function}, []
def killed(*arguments, **named):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
module.{function} = killed
settings = Path(sys.argv[1]).read_text()
step = Step("train_preference", settings, "", Path(sys.argv[2]) / "journal.json", {{}})
run(step, **dict(argument.split("=", 1) for argument in sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("module", "function", "call", "resumes"),
    [
        ("preflow.training.checkpoints", "write_manifest", 2, True),  # while the second checkpoint is written
        ("preflow.artifacts.files", "_sync", 20, True),  # while files are flushed
        ("preflow.training.policy", "write_manifest", 1, True),  # while the model is published
    ],
)
def test_kill_inside(
    whole: dict[str, Any], tmp_path: Path, module: str, function: str, call: int, resumes: bool
) -> None:
    """The work itself, killed at a chosen moment, then run again."""
    home = Path(
        next(step["outputs"]["trained"] for step in whole["steps"] if step["name"] == "train-preference")
    ).parents[5]
    about = json.loads((home / "runs" / whole["run"] / "steps" / "train-preference.record.json").read_text())[
        "arguments"
    ]
    (tmp_path / "settings").write_text(about["settings"])
    target = tmp_path / "trained"
    paths = [f"{name}={about[name]}" for name in ("data", "logps", "model", "tokenizer")] + [f"trained={target}"]

    def work(script: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "work.py").write_text(script)
        command = [sys.executable, str(tmp_path / "work.py"), str(tmp_path / "settings"), str(tmp_path), *paths]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    killed = work(KILLED_INSIDE.format(module=module, function=function, call=call))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not target.exists(), "an artifact is whole or not there"
    again = work(KILLED_INSIDE.format(module=module, function=function, call=0))
    assert again.returncode == 0, again.stderr
    assert ("resumed at step" in again.stdout) is resumes
    assert (target / "model.safetensors").read_bytes() == weights(whole)


def test_two_runs_at_once(tmp_path: Path) -> None:
    """Each step is done once between them, and both succeed."""
    desk = Desk(tmp_path)
    desk.run_file()
    processes = [desk.start("run", "dpo.yaml", "--json") for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    runs = [json.loads(output) for output, _ in outputs]
    first, second = (executed(run) for run in runs)
    assert first | second == {step["name"] for step in runs[0]["steps"]}
    assert not first & second
    assert weights(runs[0]) == weights(runs[1])
