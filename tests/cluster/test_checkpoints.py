"""Interrupted trainings on a real S3 store: what is saved, who may save, and that the end is bit-identical."""

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkpoint_kit import Pods
from cluster.place import bucket_at
from preflow.artifacts.bucket import Bucket

pytestmark = pytest.mark.cluster


@pytest.fixture
def place() -> Iterator[dict[str, str]]:
    """A prefix of its own in the cluster's bucket."""
    bucket = bucket_at(f"test-checkpoints-{secrets.token_hex(4)}")
    yield {"PREFLOW_BUCKET": bucket.uri, "PREFLOW_BUCKET_ENDPOINT": bucket.endpoint or ""}
    bucket.delete("")


def test_sigterm_and_sigkill(place: dict[str, str], tiny_model: Path, tiny_tokenizer: Path, tmp_path: Path) -> None:
    """A run goes on where it was told to leave, then where it was killed; two others train the same at once, undisturbed."""
    pods = Pods(tmp_path, place, tiny_model, tiny_tokenizer)
    bucket = Bucket(place["PREFLOW_BUCKET"], place["PREFLOW_BUCKET_ENDPOINT"])
    twins = [pods.start(name, run=name, lineage="another") for name in ("one", "other")]
    first = pods.start("first")
    first.wait_for("is in the bucket")
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 143, first.log
    assert "stopped after step" in first.log
    second = pods.start("second")
    second.wait_for("resumed at step")
    second.wait_for("is in the bucket")
    second.process.send_signal(signal.SIGKILL)
    second.end()
    third = pods.start("third")
    assert third.end() == 0, third.log
    assert "resumed at step" in third.log
    assert [twin.end() for twin in twins] == [0, 0]
    assert sum("another run trains the same" in twin.log for twin in twins) == 1
    assert third.weights == twins[0].weights == twins[1].weights
    assert len(bucket.names("checkpoints")) == 2, "the results have still to leave the pods"
