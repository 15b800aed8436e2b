"""A connection to a store that is a folder, and to an API that says what a test wants."""

from pathlib import Path

import pytest

import local_store
from fake_api import PROFILE, FakeApi
from preflow.artifacts import bucket as stores
from preflow_pipelines.runners.cluster import submit
from preflow_pipelines.runners.cluster.connection import Connection


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr(stores, "_filesystem", stores._filesystem)
    monkeypatch.setenv(local_store.ROOT, "")
    monkeypatch.setattr(submit, "LOST_SECONDS", 0.0)
    local_store.use(tmp_path / "store")
    found = Connection("lab", PROFILE)
    found.__dict__["api"] = FakeApi()
    return found
