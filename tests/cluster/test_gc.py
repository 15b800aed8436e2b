"""`preflow gc` on a bucket, in a real object store (AWS_ENDPOINT_URL and AWS_* of the environment)."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.place import bucket_at
from preflow.artifacts.bucket import Bucket
from preflow_pipelines.profile import ClusterProfile, save_profile
from preflow_pipelines.runners.cluster.collecting import find_in_bucket, free_in_bucket
from preflow_pipelines.runners.collecting import DAY, HOUR, Keeping

pytestmark = pytest.mark.cluster
EVERY = Keeping()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """A place of its own in the test's bucket."""
    found = bucket_at(f"gc-{secrets.token_hex(4)}")
    yield found
    found.delete("")


def write_run(bucket: Bucket, name: str, *, reads: str, trains: str, state: str | None, days: float = 0.0) -> None:
    about: dict[str, Any] = {
        "id": name,
        "created": time.time() - days * DAY,
        "arguments": {"data_files_uri": bucket.uri_of(f"inputs/{reads}"), "train": "{}"},
        "tasks": {"train-preference": {"step": "train_preference", "lineage": trains}},
    }
    bucket.write_json(f"runs/{name}/run.json", about)
    if state:
        bucket.write_json(f"runs/{name}/end.json", {"state": state})


def fill(bucket: Bucket) -> None:
    for name in (
        "inputs/good/manifest.json",
        "inputs/good/a.jsonl",
        "inputs/failed.py",
        "inputs/going/a",
        "inputs/lost/a",
    ):
        bucket.write(name, b"x" * 10)
    for name in ("good", "failed", "going", "lost"):
        bucket.write(f"checkpoints/{name}/step-00000005/parameters.safetensors", b"x" * 100)
        bucket.write(f"checkpoints/{name}/lease/run.train.12.beat", b"")
    bucket.write("artifacts/preflow/some-run/import-data/uuid/data", b"x")
    bucket.write("steps/good.json", b"{}")
    write_run(bucket, "run-good", reads="good", trains="good", state="SUCCEEDED", days=40)
    write_run(bucket, "run-failed", reads="failed.py", trains="failed", state="FAILED", days=40)
    write_run(bucket, "run-going", reads="going", trains="going", state=None, days=40)


def found(bucket: Bucket, keeping: Keeping = EVERY, hours: float = 2.0) -> dict[str, int]:
    """As it is some hours from now: a store's times cannot be set back."""
    return {each.name: each.bytes for each in find_in_bucket(bucket, keeping, time.time() + hours * HOUR)}


def test_what_kept_runs_need_stays(bucket: Bucket) -> None:
    assert found(bucket) == {}
    fill(bucket)
    assert found(bucket, hours=0.5) == {}, "it may be of a run that is just being submitted"
    needless = {"inputs/lost": 10, "checkpoints/good": 100, "checkpoints/lost": 100}
    assert found(bucket) == needless
    recent = Keeping(since=time.time() - 30 * DAY)
    old = needless | {"inputs/good": 20, "inputs/failed.py": 10, "checkpoints/failed": 100}
    assert found(bucket, recent) == old, "run-going is not over, however old"
    named = Keeping(recent.since, frozenset({"run-failed"}))
    assert found(bucket, named) == needless | {"inputs/good": 20}

    before, later = {entry.name for entry in bucket.entries("")}, time.time() + 2 * HOUR
    shown = find_in_bucket(bucket, recent, later)
    write_run(bucket, "run-new", reads="good", trains="failed", state=None)  # between the list and the deed
    outcome = {each.name: problem for each, problem in free_in_bucket(bucket, recent, shown, later)}
    freed = {"inputs/lost", "inputs/failed.py", "checkpoints/good", "checkpoints/lost"}
    assert outcome == dict.fromkeys(freed, "")
    left = {entry.name for entry in bucket.entries("")} - {"runs/run-new/run.json"}
    assert before - left == {name for name in before if "/".join(name.split("/")[:2]) in freed}
    assert bucket.names("checkpoints") == ["failed", "going"]


def preflow(home: Path, *arguments: str, code: int = 0, **environment: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "preflow_pipelines.cli.main", *arguments],
        env={**os.environ, "PREFLOW_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_command(bucket: Bucket, tmp_path: Path) -> None:
    profile = ClusterProfile(api="http://127.0.0.1:9", bucket=bucket.uri, bucket_endpoint=bucket.endpoint)
    save_profile(tmp_path, "lab", profile)
    fill(bucket)
    output, _ = preflow(tmp_path, "gc", "--older-than", "30", "--keep", "run-good", "--yes")
    assert output.splitlines() == [
        f"{tmp_path}: nothing that nobody needs",
        f"{bucket.uri}: nothing that nobody needs",
        "freed 0 B",
    ], "all of it is younger than an hour"
    _, said = preflow(tmp_path, "gc", "--keep", "run-none", code=2)
    assert "no such run" in said
    assert json.loads(preflow(tmp_path, "gc", "--json")[0]) == {
        "freed": False,
        "bytes": 0,
        "things": [],
        "problems": [],
    }

    rubbish = tmp_path / "inputs" / "aa"
    rubbish.parent.mkdir()
    rubbish.write_text("x")
    for path in (rubbish, rubbish.parent):
        os.utime(path, (0, 0))
    output, said = preflow(tmp_path, "gc", "--yes", code=1, AWS_SECRET_ACCESS_KEY="wrong")
    assert "freed 1 B" in output, "the rest goes on"
    assert bucket.uri in said
    assert "Traceback" not in said
    _, said = preflow(tmp_path, "gc", "--context", "other", code=2)
    assert "there is none" in said
