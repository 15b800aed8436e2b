"""A training in two processes ends as one in a single process does, whoever holds which weights; it stops and fails as one."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from checkpoint_kit import SETTINGS
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import PAIRS
from preflow.errors import DataError, PreflowError, Problem
from preflow.settings.reward_model import RewardModelSettings
from preflow.settings.train import LoraSettings, Term, TrainSettings
from preflow.steps.kit import Step
from preflow.steps.lifeline import Stopped
from preflow.steps.processes import on_all_devices
from preflow.steps.train_preference.step import run
from preflow.steps.train_reward_model import step as train_reward_model
from preflow.tracking.journal import read_journal, series

pytestmark = pytest.mark.journey


@pytest.fixture
def inputs(tiny_model: Path, tiny_tokenizer: Path, tmp_path: Path) -> dict[str, str]:
    write_rows(tmp_path / "pairs", PAIRS, tiny.pair_rows(12))
    return {"data": str(tmp_path / "pairs"), "model": str(tiny_model), "tokenizer": str(tiny_tokenizer)}


@pytest.fixture
def train(inputs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Step]:
    """Trains in a folder, in as many processes as it is told."""

    def work(name: str, processes: int, **options: object) -> Step:
        folder = tmp_path / name
        (folder / "steps").mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("PREFLOW_PROCESSES", str(processes))
        monkeypatch.setenv("PREFLOW_RUN_DIR", str(folder))
        settings = TrainSettings.model_validate(SETTINGS | {"epochs": 2, "checkpoint_steps": 3} | options)
        step = Step.detached(folder, settings.canonical(), "train_preference")
        run(step, **inputs, trained=str(folder / "trained"))
        step.write_journal({})
        return step

    return work


def assert_alike(one: Path, other: Path) -> None:
    """Equal but for rounding: a thousandth of what training moved. Adam makes the most of the smallest gradients."""
    first, second = (load_file(folder / "trained" / "model.safetensors") for folder in (one, other))
    assert set(first) == set(second)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=1e-5)


def test_shards_and_copies_end_as_one_process(train: Callable[..., Step], tmp_path: Path) -> None:
    train("one", 1)
    for parallel in ("ddp", "fsdp"):
        train(parallel, 2, parallel=parallel)
        assert_alike(tmp_path / "one", tmp_path / parallel)
        first, second = (read_journal(tmp_path / name / "journal.json") for name in ("one", parallel))
        losses = series(second, "train/loss")
        assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
        assert [value for _, value in losses] == pytest.approx(
            [value for _, value in series(first, "train/loss")], 1e-5
        )
        assert len(second["metrics"]) == len(first["metrics"])
        assert second["facts"] == first["facts"]
        lines = (tmp_path / parallel / "steps" / f"{parallel}.metrics.jsonl").read_text().splitlines()
        assert len(lines) == len(second["metrics"])
        assert not list(tmp_path.glob(f"{parallel}/checkpoints/*/step-*"))


def test_a_stop_is_agreed_on_and_shards_resume(train: Callable[..., Step], tmp_path: Path) -> None:
    """What two processes of shards saved, one process takes up."""
    train("one", 1, epochs=8)
    metrics = tmp_path / "cut" / "steps" / "cut.metrics.jsonl"

    def stop() -> None:
        while not (metrics.exists() and '"step": 4,' in metrics.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Stopped):
        train("cut", 2, epochs=8, parallel="fsdp")
    (saved,) = sorted(tmp_path.glob("cut/checkpoints/*/step-*"))[-1:]
    assert saved.name >= "step-00000004"
    train("cut", 1, epochs=8, parallel="fsdp")
    assert_alike(tmp_path / "one", tmp_path / "cut")
    assert len(series(read_journal(tmp_path / "cut" / "journal.json"), "train/loss")) == 24


def test_adapters_in_shards(train: Callable[..., Step], tmp_path: Path) -> None:
    options = {"lora": LoraSettings(rank=2), "gradient_checkpointing": True}
    train("one", 1, **options)
    train("two", 2, parallel="fsdp", **options)
    assert_alike(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "trained" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_reward_model_in_shards(inputs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "heldout", PAIRS, tiny.pair_rows(5, seed=3, split="heldout"))
    term = Term(loss="preflow.losses.reward_model:bradley_terry", arguments={"center": 0.0})
    settings = RewardModelSettings(
        objective=(term,), batch_size=4, micro_batch_tokens=128, learning_rate=1e-3, parallel="fsdp"
    )
    for name, processes in (("one", "1"), ("two", "2")):
        monkeypatch.setenv("PREFLOW_PROCESSES", processes)
        step = Step.detached(tmp_path / name, settings.canonical(), "train_reward_model")
        (tmp_path / name).mkdir()
        train_reward_model.run(
            step, **inputs, trained=str(tmp_path / name / "trained"), heldout=str(tmp_path / "heldout")
        )
        step.write_journal({})
    assert_alike(tmp_path / "one", tmp_path / "two")
    first, second = (read_journal(tmp_path / name / "journal.json") for name in ("one", "two"))
    for one, other in zip(first["metrics"], second["metrics"], strict=True):
        if "per_second" not in one["name"]:
            assert (one["name"], one["value"]) == (other["name"], pytest.approx(other["value"], abs=1e-4))
    assert first["warnings"] == second["warnings"]


def fail(step: Step, kind: str) -> None:
    """What goes wrong in one of the processes."""
    if os.environ["RANK"] == "0":
        step.warn("look out")
        return
    if kind == "data":
        raise DataError([Problem("pairs.jsonl", 3, "odd", "is odd.", "Mend it.")], total=7)
    raise ValueError("broken")


def test_an_error_is_the_steps_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOW_PROCESSES", "2")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(fail, "__module__", Path(__file__).stem)
    for kind, error, words in (("data", PreflowError, "row 3: is odd"), ("own", RuntimeError, "process 1: ValueError")):
        step = Step.detached(tmp_path)
        with pytest.raises(error, match=words):
            on_all_devices(step, fail, kind=kind)
        step.write_journal({})
        assert read_journal(tmp_path / "journal.json")["warnings"] == ["look out"]
