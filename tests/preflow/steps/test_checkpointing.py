"""Checkpoints in a bucket: what is kept there, what is taken from there, and what a store that fails costs."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import local_store
import tiny
from checkpoint_kit import LINEAGE, SETTINGS
from preflow.artifacts import bucket as stores
from preflow.artifacts import lease as leases
from preflow.artifacts.bucket import Bucket
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import PAIRS
from preflow.artifacts.lease import Lease
from preflow.errors import BucketError
from preflow.settings.train import TrainSettings
from preflow.steps import pod
from preflow.steps.kit import Step
from preflow.steps.track.step import forget_checkpoints
from preflow.steps.train_preference.step import run
from preflow.training.loop import Trainer

PLACE = f"checkpoints/{LINEAGE}"


class Pods:
    """Attempts at one training, each on a disk of its own."""

    def __init__(self, inputs: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.inputs, self.folder, self.monkeypatch = inputs, folder, monkeypatch
        self.bucket = Bucket("s3://b/p")
        self.number = 0

    def train(self, stop_after: int | None = None, run_id: str = "r1", lineage: str = LINEAGE) -> str:
        """The log. `stop_after` kills the attempt after so many steps."""
        self.number += 1
        disk = self.folder / str(self.number)
        self.monkeypatch.setattr(pod, "FOLDER", disk / "run")
        self.monkeypatch.setenv("PREFLOW_RUN_ID", run_id)
        self.monkeypatch.setenv("PREFLOW_LINEAGE", lineage)
        step = Step.detached(
            disk, TrainSettings.model_validate(SETTINGS | {"epochs": 4}).canonical(), "train_preference"
        )
        lines: list[str] = []
        self.monkeypatch.setattr(step, "log", lines.append)

        def leave(trainer: Trainer) -> None:
            if stop_after is not None and trainer.scheduler.last_epoch >= stop_after:
                raise KeyboardInterrupt

        with self.monkeypatch.context() as patch:
            patch.setattr(Trainer, "_leave_if_asked", leave)
            if stop_after is None:
                run(step, **self.inputs, trained=str(disk / "trained"))
            else:
                with pytest.raises(KeyboardInterrupt):
                    run(step, **self.inputs, trained=str(disk / "trained"))
        return "\n".join(lines)

    @property
    def weights(self) -> bytes:
        return (self.folder / str(self.number) / "trained" / "model.safetensors").read_bytes()

    def steps(self) -> set[str]:
        return {name for name in self.bucket.names(PLACE) if name.startswith("step-")}


@pytest.fixture
def pods(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> Pods:
    for name in ("BEAT", "DEAD", "SURE", "SETTLE"):
        monkeypatch.setattr(leases, f"{name}_SECONDS", getattr(leases, f"{name}_SECONDS") / 20)
    monkeypatch.setattr(stores, "_filesystem", stores._filesystem)
    monkeypatch.setenv(local_store.ROOT, "")
    local_store.use(tmp_path / "store")
    monkeypatch.setenv("PREFLOW_BUCKET", "s3://b/p")
    monkeypatch.setenv("PREFLOW_TASK", "train-preference")
    write_rows(tmp_path / "pairs", PAIRS, tiny.pair_rows(12))
    inputs = {"data": str(tmp_path / "pairs"), "model": str(tiny_model), "tokenizer": str(tiny_tokenizer)}
    return Pods(inputs, tmp_path, monkeypatch)


def test_an_attempt_goes_on_from_the_bucket_alone(pods: Pods) -> None:
    """12 steps, a checkpoint every 4; two are kept, also when the result is written: it has still to leave the pod."""
    pods.train(lineage="another")
    whole = pods.weights
    pods.train(stop_after=2)
    assert not pods.steps()
    pods.train(stop_after=10)
    assert pods.steps() == {"step-00000004", "step-00000008"}
    log = pods.train()
    assert "resumed at step 8" in log and "step-00000008 fetched" in log
    assert pods.weights == whole
    assert "resumed at step 8" in pods.train(), "the launcher did not bring it away"
    assert pods.weights == whole and pods.steps() == {"step-00000004", "step-00000008"}


def test_the_last_task_of_a_run_deletes_them(pods: Pods) -> None:
    """Not those of other runs, and not while another run trains the same."""
    pods.train(stop_after=6)
    pods.train(lineage="another", stop_after=6)
    tasks = {"train-preference": {"lineage": LINEAGE}, "evaluate": {"lineage": "of no training"}}
    pods.bucket.write_json("runs/r1/run.json", {"tasks": tasks})
    other = Lease(pods.bucket, f"{PLACE}/lease", "r0.train-preference")
    assert other.keep()
    forget_checkpoints()
    assert pods.steps() == {"step-00000004"}
    other.release()
    forget_checkpoints()
    assert pods.bucket.names("checkpoints") == ["another"]


def test_what_is_not_whole_is_passed_over(pods: Pods) -> None:
    """Half uploaded, changed, of another training: each is replaced by what is trained again."""
    pods.train(lineage="another")
    whole = pods.weights
    pods.train(stop_after=10)
    bucket = pods.bucket
    bucket.write(f"{PLACE}/step-00000008/parameters.safetensors", b"half")
    bucket.write(f"{PLACE}/step-00000011/parameters.safetensors", b"half")
    log = pods.train(stop_after=6)
    assert "step-00000008 in the bucket is damaged" in log and "resumed at step 4" in log
    shutil.copytree(pods.folder / "store/b/p" / PLACE, pods.folder / "store/b/p/checkpoints/third")
    log = pods.train(lineage="third", stop_after=1)
    assert "step-00000004 in the bucket is damaged or of another training" in log and "resumed" not in log
    log = pods.train()
    assert "resumed at step 4" in log
    assert pods.weights == whole


def test_another_run_of_the_same_training(pods: Pods) -> None:
    """It begins where the other one is, and leaves its checkpoints alone."""
    pods.train(lineage="another")
    whole = pods.weights
    pods.train(stop_after=10)
    other = Lease(pods.bucket, f"{PLACE}/lease", "r0.train-preference")
    assert other.keep()
    log = pods.train(run_id="r2")
    assert "another run trains the same" in log and "resumed at step 8" in log
    assert pods.weights == whole
    assert pods.steps() == {"step-00000004", "step-00000008"}
    other.release()


def failing(name: str) -> Callable[..., Any]:
    def fail(*arguments: Any) -> None:
        raise BucketError(f"{name}: the store does not answer. Start it.")

    return fail


def test_a_store_that_does_not_answer(pods: Pods) -> None:
    """While it trains that costs the checkpoints, and is said; at the start it is an error."""
    with pods.monkeypatch.context() as patch:
        patch.setattr(Bucket, "upload", failing("upload"))
        log = pods.train()
    assert log.count("the store does not answer. Start it. The training goes on") == 2
    assert not pods.bucket.entries("checkpoints")
    with pods.monkeypatch.context() as patch:
        patch.setattr(Bucket, "write", failing("write"))
        with pytest.raises(BucketError, match="Start it"):
            pods.train()


def test_the_folder_of_a_pod(pods: Pods, tmp_path: Path) -> None:
    """On the pod's own disk, by the lineage."""
    assert os.environ["PREFLOW_BUCKET"]
    pods.monkeypatch.setattr(pod, "FOLDER", tmp_path / "preflow" / "run")
    pods.monkeypatch.setenv("PREFLOW_LINEAGE", LINEAGE)
    pods.monkeypatch.setenv("PREFLOW_RUN_ID", "r1")
    assert Step("s", "{}", "", tmp_path / "j", {}).checkpoints == tmp_path / "preflow" / "checkpoints" / LINEAGE
