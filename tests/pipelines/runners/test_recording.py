"""What is written down about tasks, and what is not trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
from preflow.settings.plan import InputSpec
from preflow_pipelines.runners.folder import RunFolder
from preflow_pipelines.runners.inputs import StagedInput, open_store
from preflow_pipelines.runners.recording import LocalWatcher


class Silent:
    def begin(self, tasks: Sequence[str]) -> None: ...
    def started(self, task: str) -> None: ...
    def progress(self, task: str, progress: Mapping[str, Any]) -> None: ...
    def finished(self, task: str, state: str, seconds: float) -> None: ...
    def message(self, text: str) -> None: ...


@pytest.fixture
def model(tmp_path: Path) -> StagedInput:
    tiny.make_model(tmp_path / "model")
    with open_store(tmp_path / "home") as store:
        return store.stage(InputSpec("model", "model", str(tmp_path / "model")))


@pytest.fixture
def watcher(tmp_path: Path, model: StagedInput) -> LocalWatcher:
    folder = RunFolder(tmp_path / "home" / "runs" / "r1")
    (folder.path / "steps").mkdir(parents=True)
    return LocalWatcher(folder, tmp_path / "home", {"train": "train_preference"}, {"model": model}, Silent())


def test_weights_saved_over_during_a_run_spoil_what_reads_them(
    tmp_path: Path, watcher: LocalWatcher, model: StagedInput
) -> None:
    """The store holds a link to the user's weights, and a model that is saved again is written in place."""
    weights = tmp_path / "model" / "model.safetensors"
    assert watcher.spoiled("train", {"model": model.uri}) is None
    data = weights.read_bytes()
    with weights.open("r+b") as file:
        file.write(data[:-1] + bytes([data[-1] ^ 1]))
    assert watcher.spoiled("evaluate", {"model": "trained elsewhere"}) is None
    problem = watcher.spoiled("train", {"model": model.uri})
    assert problem is not None
    assert "changed in place while the run was going" in problem
    assert str(tmp_path / "model") in problem, "the user's name for it"
    watcher.finished("train", "FAILED", 0.0, {"model": model.uri}, {})
    record = watcher.folder.record("train") or {}
    assert (record["state"], record["error"]["user"], record["error"]["message"]) == ("FAILED", True, problem)
