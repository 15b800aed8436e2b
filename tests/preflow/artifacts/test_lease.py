"""Of all that want to write below a name one does, on nothing but a store that shows what was written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import local_store
from preflow.artifacts import bucket as stores
from preflow.artifacts import lease as leases
from preflow.artifacts.bucket import Bucket
from preflow.artifacts.lease import Lease
from preflow.errors import BucketError

NAME = "checkpoints/x/lease"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A store in a folder, and waits that are twenty times shorter."""
    for name in ("BEAT", "DEAD", "SURE", "SETTLE"):
        monkeypatch.setattr(leases, f"{name}_SECONDS", getattr(leases, f"{name}_SECONDS") / 20)
    monkeypatch.setattr(stores, "_filesystem", stores._filesystem)
    local_store.use(tmp_path)
    return Bucket("s3://b/p")


@pytest.fixture
def lease(bucket: Bucket) -> Iterator[Callable[..., Lease]]:
    """Makes leases, and gives them back at the end."""
    made: list[Lease] = []

    def make(owner: str, tell: Callable[[str], None] = lambda text: None) -> Lease:
        made.append(Lease(bucket, NAME, owner, tell))
        return made[-1]

    yield make
    for each in made:
        each.release()


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_second_has_it_when_the_first_lets_go(lease: Callable[..., Lease]) -> None:
    first, said = lease("one"), []
    second = lease("two", said.append)
    assert first.keep()
    assert not second.keep()
    assert first.held and not second.held
    first.release()
    wait_for(lambda: second.held)
    assert said == ["the lease is taken"]


def test_an_owners_former_claim_is_taken_over_at_once(bucket: Bucket, lease: Callable[..., Lease]) -> None:
    """And the former process, should it still live, finds out, and does not take it back."""
    said: list[str] = []
    former, later = lease("run.task", said.append), lease("run.task")
    assert former.keep()
    assert later.keep()
    wait_for(lambda: not former.held)
    wait_for(lambda: said)
    assert said == ["the lease is lost: another run took it"]
    time.sleep(1.5)
    assert later.held and not former.held
    later.release()
    wait_for(lambda: former.held)


def test_nothing_is_left_of_one_that_is_over(bucket: Bucket, lease: Callable[..., Lease]) -> None:
    first = lease("one")
    first.keep()
    assert {entry.name.rpartition(".")[2] for entry in bucket.entries(NAME)} == {"since", "beat"}
    first.release()
    assert not bucket.entries(NAME)


def test_rubbish_is_no_claim(bucket: Bucket, lease: Callable[..., Lease]) -> None:
    bucket.write(f"{NAME}/gone.0123.beat", b"")
    bucket.write(f"{NAME}/what", b"")
    assert lease("one").keep()
    assert f"{NAME}/gone.0123.beat" not in [entry.name for entry in bucket.entries(NAME)]


def test_a_store_that_fails(lease: Callable[..., Lease], bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """At first an error; later the holder stops to count itself one before others may, and takes it again afterwards."""

    def fail(*arguments: Any) -> None:
        raise BucketError("the store does not answer. Start it.")

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "write", fail)
        with pytest.raises(BucketError, match="Start it"):
            lease("one").keep()
    held = lease("one", said.append)
    assert held.keep()
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "write", fail)
        begun = time.monotonic()
        wait_for(lambda: not held.held)
        assert time.monotonic() - begun < leases.DEAD_SECONDS
        wait_for(lambda: said)
    wait_for(lambda: held.held)
    assert said == ["the lease is lost: the store does not answer. Start it.", "the lease is taken"]


CONTENDER = """
import sys, time
import local_store
local_store.use()
from preflow.artifacts import lease
for name in ("BEAT", "DEAD", "SURE", "SETTLE"):
    setattr(lease, name + "_SECONDS", getattr(lease, name + "_SECONDS") / 4)
from preflow.artifacts.bucket import Bucket
mine = lease.Lease(Bucket("s3://b/p"), "checkpoints/x/lease", sys.argv[1])
mine.keep()
while True:
    print("held" if mine.held else "free", flush=True)
    time.sleep(0.1)
"""


def test_processes_at_once_and_kill_9(tmp_path: Path) -> None:
    """Exactly one of three holds it; when it is killed without a word, another one does."""
    tests = Path(__file__).parents[2]
    path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {local_store.ROOT: str(tmp_path / "store"), "PYTHONPATH": path}
    (tmp_path / "contender.py").write_text(CONTENDER)
    outputs = [tmp_path / f"{number}.txt" for number in range(3)]
    started = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "contender.py"), path.stem], stdout=path.open("w"), env=environment
        )
        for path in outputs
    ]

    def holders() -> list[int]:
        return [
            number
            for number, path in enumerate(outputs)
            if started[number].poll() is None and path.read_text().split()[-1:] == ["held"]
        ]

    try:
        wait_for(lambda: all(path.read_text() for path in outputs) and holders(), 90)
        time.sleep(1)
        assert len(holders()) == 1
        started[holders()[0]].send_signal(signal.SIGKILL)
        wait_for(lambda: not holders())
        wait_for(holders, 60)
        time.sleep(1)
        assert len(holders()) == 1
    finally:
        for process in started:
            process.kill()
            process.wait()
