"""Runs are handed over to a recorder that waits, by exactly one of those who offer, to exactly one of those who wait."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fake_runs import FakeRun
from preflow.tracking import relay
from preflow.tracking.locks import held
from preflow.tracking.relay import hand_over, wait_for_another


def waiting(home: Path, found: list[Path | None]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(wait_for_another(home, lambda: "s1")), daemon=True)
    thread.start()
    time.sleep(0.3)
    return thread


def test_nobody_waits(tmp_path: Path) -> None:
    assert not hand_over(tmp_path / "runs" / "one", tmp_path, "s1")
    assert not hand_over(tmp_path / "runs" / "one", tmp_path, None)
    assert not list(tmp_path.glob("recorder.next*"))


def test_who_waits_takes_one_run(tmp_path: Path) -> None:
    found: list[Path | None] = []
    thread = waiting(tmp_path, found)
    assert wait_for_another(tmp_path, lambda: "s1") is None, "one waits already"
    assert not hand_over(tmp_path / "runs" / "one", tmp_path, "s2"), "it waits for runs of another store"
    assert hand_over(tmp_path / "runs" / "one", tmp_path, "s1")
    thread.join(5)
    assert found == [tmp_path / "runs" / "one"]
    assert not hand_over(tmp_path / "runs" / "two", tmp_path, "s1"), "it is busy now"


def test_a_store_that_was_made_anew_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mlflow has the old file open: a run would be recorded into nothing."""
    monkeypatch.setattr(relay, "HAND_OVER_SECONDS", 0.5)
    found: list[Path | None] = []
    stores = iter(["s1"])
    thread = threading.Thread(
        target=lambda: found.append(wait_for_another(tmp_path, lambda: next(stores, "s2"))), daemon=True
    )
    thread.start()
    time.sleep(0.3)
    assert not hand_over(tmp_path / "runs" / "one", tmp_path, "s1")
    thread.join(5)
    assert found == [None]


def test_nobody_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LINGER_SECONDS", 0.2)
    assert wait_for_another(tmp_path, lambda: "s1") is None
    assert wait_for_another(tmp_path / "gone", lambda: None) is None


def test_a_run_that_is_not_taken_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting one may have been killed between lock and note."""
    monkeypatch.setattr(relay, "HAND_OVER_SECONDS", 0.3)
    with held(tmp_path / f"{relay.WAITING}.s1"):
        assert not hand_over(tmp_path / "runs" / "one", tmp_path, "s1")
    assert not list(tmp_path.glob("recorder.next*"))


def test_one_process_records_run_after_run(tmp_path: Path) -> None:
    runs = [FakeRun(tmp_path, f"1124-1000-ab1{number}", started=1e9 + number).whole() for number in range(2)]
    command = [sys.executable, "-m", "preflow.tracking.recorder"]
    first = subprocess.Popen([*command, str(runs[0].folder), "--follow"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (runs[0].folder / "synced.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        again = subprocess.run([*command, str(runs[1].folder), "--follow"], capture_output=True, text=True, timeout=60)
        assert (again.returncode, again.stdout) == (0, "handed over to the recorder of an earlier run\n")
        while not (runs[1].folder / "synced.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        ids = [json.loads((run.folder / "synced.json").read_text())["run_id"] for run in runs]
        assert len(set(ids)) == 2 and None not in ids
        assert os.waitpid(first.pid, os.WNOHANG) == (0, 0), "it waits for the next one"
    finally:
        first.kill()
        first.wait()
