"""What nobody needs is found and freed; what a kept run needs, and what is just beginning, is not."""

import fcntl
import json
import os
import pwd
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fake_runs import TIME, FakeRun
from journey_kit import Desk, executed
from preflow.artifacts.files import write_json
from preflow.settings.plan import InputSpec
from preflow.steps.kit import Step
from preflow_pipelines.runners.collecting import DAY, HOUR, Garbage, Keeping, find, free, spared
from preflow_pipelines.runners.inputs import StagedInput, open_store
from preflow_pipelines.runners.locks import exclusive

EVERY = Keeping()
OLD = Keeping(since=TIME + 500)
"""Keeps what began long after the fake runs' clock started."""


def age(path: Path, seconds: float = 2 * HOUR) -> None:
    """As if nobody had written there since."""
    then = time.time() - seconds
    for each in [*path.rglob("*"), path]:
        os.utime(each, (then, then), follow_symlinks=False)


def names(home: Path, keeping: Keeping = EVERY) -> set[str]:
    return {each.name for each in find(home, keeping)}


def freed(home: Path, keeping: Keeping = EVERY, shown: list[Garbage] | None = None) -> set[str]:
    """What was freed of what is shown, all without a problem."""
    found = list(free(home, keeping, find(home, keeping) if shown is None else shown))
    assert [problem for _, problem in found if problem] == []
    return {each.name for each, _ in found}


def put(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def stored(name: str, home: Path) -> dict[str, dict[str, object]]:
    """As a run.json names an input."""
    return {"data_files": {"uri": str(home / "inputs" / name), "digest": name, "files": {}}}


def checkpoint(home: Path, name: str, *claims: str) -> Path:
    put(home / "checkpoints" / name / "step-00000005" / "parameters.safetensors", 1000)
    (home / "checkpoints" / f"{name}.lock").write_text("".join(f"{claim}\n" for claim in claims))
    return home / "checkpoints" / name


def test_each_kind_of_rubbish(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run = FakeRun(home, "run-a", inputs=stored("aa", home)).whole()
    for name in ("aa/train/000.jsonl", "bb/train/000.jsonl", "cc.py"):
        put(home / "inputs" / name)
    gone = {"data": {"__kfp_artifact__": True, "uri": str(home / "runs" / "none" / "data")}}
    there = {"data": {"__kfp_artifact__": True, "uri": str(run.output("import-data", "journal"))}}
    for digit, entry in (("0", gone), ("1", there)):
        write_json(home / "cache" / f"{digit * 64}.json", entry)
    put(home / "cache" / "digests.json")
    for name in ("inputs", "12ab"):
        put(home / "cache" / "locks" / name)
    put(home / "downloads" / "d1" / "pairs.jsonl")
    os.link(put(home / "downloads" / "d2" / "model.safetensors"), home / "inputs" / "aa" / "model.safetensors")
    put(run.folder / "tmp" / "half")
    put(run.output("import-data", "data.damaged-12-34"))
    put(home / "runs" / "never" / "pipeline.json")
    put(home / "runs" / ".run-b.freed" / "left")
    put(home / "mlartifacts" / "model")
    assert names(home) == {"runs/.run-b.freed", f"cache/{'0' * 64}.json"}, "the rest may be of what just begins"
    age(home)
    settled = {
        *("inputs/bb", "inputs/cc.py", f"cache/{'0' * 64}.json", "cache/locks/12ab", "downloads/d1", "runs/run-a/tmp"),
        *("runs/.run-b.freed", "runs/run-a/outputs/preflow-2026/import-data/data.damaged-12-34"),
    }
    assert names(home) == settled
    age(home, 2 * DAY)
    assert names(home) == settled | {"runs/never"}
    assert sum(each.bytes for each in find(home, EVERY) if each.kind == "inputs") == 20
    before = {path for path in home.rglob("*") if path.is_file()}
    assert freed(home) == settled | {"runs/never"}
    left = {path for path in home.rglob("*") if path.is_file()}
    assert before - left == {
        path for path in before if any(path.is_relative_to(home / n) for n in [*settled, "runs/never"])
    }
    assert names(home) == set()


def test_old_runs_go_unless_kept_ones_need_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = FakeRun(home, "first", inputs=stored("aa", home)).whole()
    FakeRun(home, "second", started=TIME + 100, inputs=stored("bb", home)).whole()
    third = FakeRun(home, "third", started=TIME + 200, inputs=stored("cc", home)).whole(first, ("import-data",))
    FakeRun(home, "fourth", started=TIME + 1000, inputs=stored("cc", home)).whole(third, ("reference-logps",))
    for name in ("aa", "bb", "cc"):
        put(home / "inputs" / name)
    entry = {"data": {"__kfp_artifact__": True, "uri": str(home / "runs" / "second" / "run.json")}}
    write_json(home / "cache" / f"{'2' * 64}.json", entry)
    age(home)
    assert names(home) == set(), "every run is kept if nobody says how old is too old"
    assert names(home, Keeping(OLD.since, frozenset({"second"}))) == set()
    second = {"runs/second", "inputs/bb", f"cache/{'2' * 64}.json"}
    assert names(home, OLD) == second, "first made what third reused, and third what fourth did"
    assert freed(home, OLD) == second
    assert {path.name for path in (home / "runs").iterdir()} == {"first", "third", "fourth"}
    assert names(home, Keeping(TIME + 5000)) == {*("runs/first", "runs/third", "runs/fourth", "inputs/aa", "inputs/cc")}


def test_what_a_run_that_goes_on_may_reuse_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    FakeRun(home, "old").whole()
    shown = find(home, OLD)
    going = FakeRun(home, "going", started=TIME + 1000).begin()
    put(going.folder / "tmp" / "in use")
    put(home / "cache" / "locks" / "12ab")
    age(home)
    assert [each.name for each in shown] == ["runs/old"]
    assert names(home, OLD) == set()
    assert spared(home, OLD) == (["going"], ["old"])
    assert freed(home, OLD, shown) == set()
    going.die()
    assert freed(home, OLD) == {"runs/old", "runs/going/tmp", "cache/locks/12ab"}


def test_a_run_that_cannot_be_read_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    put(home / "runs" / "odd" / "run.json").write_text('{"inputs": "/inputs/aa", half')
    put(home / "inputs" / "aa")
    age(home, 3 * DAY)
    assert names(home, Keeping(time.time())) == set()


def test_checkpoints_stay_for_kept_runs_that_have_not_succeeded(tmp_path: Path) -> None:
    home = tmp_path / "home"
    FakeRun(home, "good").whole()
    FakeRun(home, "killed").begin().die()
    checkpoint(home, "of-good", "good")
    checkpoint(home, "of-killed", "good", "killed")
    checkpoint(home, "of-deleted", "gone")
    checkpoint(home, "of-nobody")
    put(home / "checkpoints" / "published.lock")
    age(home)
    with (home / "checkpoints" / "of-good.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert names(home) == {"checkpoints/of-deleted", "checkpoints/published.lock"}, "a step may still be saving"
    assert "checkpoints/of-good" in names(home)
    assert names(home, OLD) >= {"runs/killed", "checkpoints/of-killed"}
    put(home / "checkpoints" / "of-deleted" / "step-00000006")
    assert "checkpoints/of-deleted" not in names(home), "written just now"
    age(home, 31 * DAY)
    found = {"checkpoints/of-good", "checkpoints/of-deleted", "checkpoints/of-nobody", "checkpoints/published.lock"}
    assert names(home) == found
    assert freed(home) == found
    assert {path.name for path in (home / "checkpoints").iterdir() if path.is_dir()} == {"of-killed"}


def test_a_step_says_whose_its_checkpoints_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    for run in ("first", "retry"):
        monkeypatch.setenv("PREFLOW_HOME", str(home))
        monkeypatch.setenv("PREFLOW_RUN_ID", run)
        step = Step("train", "{}", "", tmp_path / "journal.json", {"data": "/somewhere"})
        lock = step.checkpoints.with_name(f"{step.checkpoints.name}.lock")
        step._alone[step.checkpoints].close()
    assert lock.read_text().split() == ["first", "retry"]


def stage(home: Path, kept: StagedInput | None = None) -> StagedInput:
    with open_store(home) as store:
        return store.stage(InputSpec("scorer", "scorer", "math:sqrt"), kept)


def test_what_is_staged_again_is_in_use(tmp_path: Path) -> None:
    home = tmp_path / "home"
    staged = stage(home)
    for kept in (None, staged):
        age(home)
        shown = find(home, EVERY)
        assert [each.kind for each in shown] == ["inputs"]
        assert stage(home, kept) == staged
        assert freed(home, shown=shown) == set()
        assert Path(staged.uri).is_file()


def test_nothing_is_freed_while_somebody_stages(tmp_path: Path) -> None:
    home = tmp_path / "home"
    put(home / "inputs" / "aa")
    age(home)
    shown, result = find(home, EVERY), set[str]()
    with exclusive(home / "cache" / "locks" / "inputs"):
        thread = threading.Thread(target=lambda: result.update(freed(home, shown=shown)))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        FakeRun(home, "new", inputs=stored("aa", home)).begin()
    thread.join()
    assert result == set()
    assert (home / "inputs" / "aa").exists()


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder, and work as a user who owns it: root may delete everything."""
    folder = Path(tempfile.mkdtemp())
    nobody = pwd.getpwnam("nobody").pw_uid
    if os.geteuid() == 0:
        os.chown(folder, nobody, -1)
        os.seteuid(nobody)
    try:
        yield folder
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_what_cannot_be_deleted_is_said_and_the_rest_goes(tmp_path: Path) -> None:
    with as_nobody() as home:
        for name in ("aa/x", "bb/x", "cc"):
            put(home / "inputs" / name)
        age(home)
        (home / "inputs" / "aa").chmod(0o555)
        outcome = {each.name: problem for each, problem in free(home, EVERY, find(home, EVERY))}
        (home / "inputs" / "aa").chmod(0o755)
        assert outcome.pop("inputs/aa").endswith("Delete " + str(home / "inputs" / "aa") + " by hand.")
        assert outcome == {"inputs/bb": "", "inputs/cc": ""}
        assert [path.name for path in (home / "inputs").iterdir()] == ["aa"]


def test_bytes_that_other_names_keep_do_not_count(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("old", "older"):
        FakeRun(home, name).begin().die()
        (home / "runs" / name / "run.json").write_text(json.dumps({"created": TIME}))
    model = put(home / "runs" / "old" / "model", 10_000)
    put(home / "runs" / "old" / "own", 5_000)
    os.link(model, home / "runs" / "older" / "model")
    found = {each.name: each.bytes for each in find(home, OLD)}
    assert found["runs/older"] > 10_000 > found["runs/old"] > 5_000
    (home / "mlartifacts").mkdir()
    os.link(model, home / "mlartifacts" / "model")
    assert sum(each.bytes for each in find(home, OLD)) < 10_000


@pytest.mark.journey
def test_from_run_to_gc_to_run(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run_file(train={"epochs": 6, "checkpoint_steps": 10})
    old = desk.run("dpo.yaml")
    process = desk.start("run", "dpo.yaml", "--set", "loss.beta=0.7", "--json")
    deadline = time.monotonic() + 120
    while not (begun := list(desk.home.glob("checkpoints/*/step-*/manifest.json"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert begun
    killed = max(path.name for path in (desk.home / "runs").iterdir())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while b"preflow.tracking.recorder" in b"".join(  # it may still write into the folder
        path.read_bytes()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(desk.home).encode() in path.read_bytes()
    ):
        time.sleep(0.2)
    put(desk.home / "inputs" / "aa")
    for run in (old["run"], killed):
        path = desk.home / "runs" / run / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"created": time.time() - 40 * DAY}))
    age(desk.home)

    things = {each["name"] for each in json.loads(desk.call("gc", "--json"))["things"]}
    assert {name for name in things if "lock" not in name} == {"inputs/aa", f"runs/{killed}/tmp"}
    said = desk.call("gc", "--yes")
    assert "freed" in said
    assert not (desk.home / "inputs" / "aa").exists()
    assert json.loads(desk.call("gc", "--json"))["things"] == []

    retried = json.loads(desk.call("retry", killed, "--json"))
    assert executed(retried) == {"train-preference", "evaluate", "report"}
    log = desk.home / "runs" / retried["run"] / "steps" / "train-preference.log"
    assert "resumed at step" in log.read_text()

    age(desk.home)
    assert f"runs/{killed}" in desk.call("gc", "--older-than", "30")
    assert (desk.home / "runs" / killed).is_dir()
    desk.call("gc", "--older-than", "30", "--yes")
    assert {path.name for path in (desk.home / "runs").iterdir()} == {old["run"], retried["run"]}
    assert executed(desk.run("dpo.yaml", "--set", "loss.beta=0.7")) == set()
    assert old["run"] in desk.call("runs")
