"""The adaptor, on a light workflow: what it reports for each task, and that kfp is left as it was. The gate for another kfp."""

import inspect
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from kfp.local.orchestrator import task_executor

from toy_workflow import Recorder, counts, play, states

ALL = {"first": 1, "second": 1, "third": 1}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOY_COUNTS", str(tmp_path / "counts"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # kfp leaves a folder per step
    (tmp_path / "given").write_text("given ")
    return tmp_path / "given"


def test_the_wrapped_function_has_the_signature_that_is_known() -> None:
    names = inspect.signature(task_executor.execute_single_task).parameters
    assert {"task_name", "task_spec", "components", "executors", "io_store"} <= set(names)
    assert callable(task_executor.task_dispatcher.run_single_task_implementation)


def test_one_report_per_step_in_order_and_none_for_inputs(given: Path) -> None:
    watcher = play(given)
    assert watcher.said == [(task, what) for task in ALL for what in ("started", "EXECUTED")]
    assert counts() == ALL
    assert watcher.arguments["second"] == {"made": watcher.outputs["first"]["made"], "settings": "2", "key": ""}
    assert (Path(watcher.outputs["second"]["folder"]) / "inner" / "b").read_text() == "given 12inner/b"


def test_a_second_run_reuses_everything(given: Path) -> None:
    before = play(given)
    after = play(given, "r2")
    assert after.said == [(task, "CACHED") for task in ALL]
    assert after.outputs == before.outputs, "what is reused is the first run's files"
    assert counts() == ALL


@pytest.mark.parametrize(
    ("change", "executed"),
    [
        ({"one": "x"}, ["first", "second", "third"]),
        ({"two": "x"}, ["second", "third"]),
        ({"three": "x"}, ["third"]),
        ({"keys": {"second": "code=a"}}, ["second", "third"]),
    ],
)
def test_what_changed_runs_with_what_depends_on_it(given: Path, change: dict[str, Any], executed: list[str]) -> None:
    play(given)
    assert [task for task, state in states(play(given, "r2", **change)) if state == "EXECUTED"] == executed
    assert {state for _, state in states(play(given, "r3"))} == {"CACHED"}, "putting it back finds the first result"


@pytest.mark.parametrize("how", ["fail", "die", "leave"])
def test_a_failure_stops_and_leaves_no_entry(given: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Recorder()
    for name in ("r1", "r2"):
        watcher.said.clear()
        with pytest.raises(RuntimeError):
            play(given, name, watcher, two=how)
    assert states(watcher) == [("first", "CACHED"), ("second", "FAILED")]
    assert counts() == {"first": 1, "second": 2}


def test_interrupted_it_reports_the_task_and_puts_kfp_back(given: Path) -> None:
    functions = task_executor.execute_single_task, task_executor.task_dispatcher.run_single_task_implementation

    class Impatient(Recorder):
        def started(self, task: str) -> None:
            super().started(task)
            if task == "second":
                raise KeyboardInterrupt

    watcher = Impatient()
    with pytest.raises(KeyboardInterrupt):
        play(given, watcher=watcher)
    assert states(watcher) == [("first", "EXECUTED"), ("second", "STOPPED")]
    assert functions == (
        task_executor.execute_single_task,
        task_executor.task_dispatcher.run_single_task_implementation,
    )
    assert [state for _, state in states(play(given, "r2"))] == ["CACHED", "EXECUTED", "EXECUTED"]


def test_what_is_damaged_is_set_aside_and_made_again(given: Path) -> None:
    first = play(given)
    watcher = Recorder()
    watcher.broken["second"] = "folder"
    play(given, "r2", watcher)
    assert states(watcher) == [("first", "CACHED"), ("second", "EXECUTED"), ("third", "EXECUTED")]
    aside = Path(first.outputs["second"]["folder"])
    assert not aside.exists()
    assert len(list(aside.parent.glob("folder.damaged-*"))) == 1
    assert [state for _, state in states(play(given, "r3"))] == ["CACHED"] * 3


def test_what_was_made_from_inputs_that_changed_is_not_kept(given: Path) -> None:
    watcher = Recorder()
    watcher.changed_beneath = "second"
    with pytest.raises(RuntimeError, match="an input was changed"):
        play(given, "r1", watcher)
    assert states(watcher) == [("first", "EXECUTED"), ("second", "FAILED")]
    assert states(play(given, "r2")) == [("first", "CACHED"), ("second", "EXECUTED"), ("third", "EXECUTED")]


def test_a_folder_of_an_old_run_may_be_deleted(given: Path) -> None:
    first = play(given)
    Path(first.outputs["first"]["made"]).unlink()
    assert [state for _, state in states(play(given, "r2"))] == ["EXECUTED", "EXECUTED", "EXECUTED"]


AT_ONCE = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {runners!r}]
from test_kfp_adaptor import play, states
given, name = Path(sys.argv[1]), sys.argv[2]
print([state for _, state in states(play(given, name, two="sleep 0.5")) if state != "waiting"])
"""


def test_runs_at_once_do_each_step_once(given: Path) -> None:
    here = Path(__file__).parent
    script = AT_ONCE.format(tests=str(here.parents[1]), runners=str(here))
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(given), f"r{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    answers = [process.communicate(timeout=120)[0].strip().splitlines()[-1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert counts() == ALL
    assert sum(answer.count("EXECUTED") for answer in answers) == 3
    assert sum(answer.count("CACHED") for answer in answers) == 6


def test_it_says_for_whom_it_waits(given: Path) -> None:
    said: list[str] = []

    class Waiting(Recorder):
        def waiting(self, task: str, holder: str) -> None:
            said.append(f"{task} waits for {holder}")

    here = Path(__file__).parent
    script = AT_ONCE.format(tests=str(here.parents[1]), runners=str(here))
    other = subprocess.Popen([sys.executable, "-c", script, str(given), "r1"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while "second" not in counts() and time.monotonic() < deadline:
        time.sleep(0.02)
    play(given, "r2", Waiting(), two="sleep 0.5")
    other.wait()
    assert said[0] == "second waits for r1"
    assert all(line.endswith("waits for r1") for line in said), "the third step may be waited for too"
    assert counts() == ALL


def test_threads_do_not_matter(given: Path) -> None:
    """A caller that is not the main thread, e.g. a notebook."""
    found: list[Recorder] = []
    thread = threading.Thread(target=lambda: found.append(play(given)))
    thread.start()
    thread.join()
    assert len(states(found[0])) == 3
    assert os.environ["TOY_COUNTS"]
