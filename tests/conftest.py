"""Fixtures that many tests share."""

import os
from pathlib import Path

import pytest

if worker := os.environ.get(
    "PYTEST_XDIST_WORKER"
):  # a core each, before torch counts them: workers must not wait for each other
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})

import tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random model; read only."""
    return tiny.make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's tokenizer, staged with its chat template; read only."""
    return tiny.stage(tiny_model, tmp_path_factory.mktemp("tokenizer") / "staged")


@pytest.fixture(autouse=True)
def no_run_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is not a step of a run that happens to be going on."""
    for name in ("PREFLOW_RUN_DIR", "PREFLOW_RUN_ID", "PREFLOW_HOME", "PREFLOW_ALIVE"):
        monkeypatch.delenv(name, raising=False)
