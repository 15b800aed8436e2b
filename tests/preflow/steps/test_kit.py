"""What a step runs in: its log, its status, its journal, its refusals, its life line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import preflow.errors
from preflow.artifacts.code import code_digest, make_key, step_roots
from preflow.errors import ArtifactError, SettingsError
from preflow.settings.rejection import RejectionSettings
from preflow.steps.kit import Step
from preflow.tracking.journal import latest, metric_names, read_journal, series

SCRIPT = """
import os, signal, sys, time
from types import SimpleNamespace
from preflow.steps.kit import running
from preflow.errors import SettingsError, DataError, Problem
folder = sys.argv[1]
journal = SimpleNamespace(path=folder + "/some-task/journal", metadata={{}})
with running("rejection_sample", "{{}}", {key!r}, journal, {{}}, {{}}) as step:
    print("out"); sys.stderr.buffer.write(b"odd \\xff byte\\n"); sys.stderr.flush()
    step.metrics({{"train/loss": 0.5}}, step=1); step.progress(1, 2, "rows"); step.fact("x", 1); step.warn("careful")
    {body}
"""


def play(tmp_path: Path, body: str = "pass", key: str = "", **environment: str) -> "subprocess.Popen[bytes]":
    (tmp_path / "some-task").mkdir(exist_ok=True)
    (tmp_path / "script.py").write_text(SCRIPT.format(key=key, body=body))
    ours = {"PREFLOW_RUN_DIR": str(tmp_path), "PREFLOW_RUN_ID": "r1", "PREFLOW_HOME": str(tmp_path), **environment}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    return subprocess.Popen(command, env={**os.environ, **ours}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def status(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "steps" / "some-task.step.json").read_text()))


def test_a_step_leaves_its_log_status_and_journal(tmp_path: Path) -> None:
    process = play(tmp_path)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output == b"", "nothing passes through kfp.local's pipe"
    assert "out\nodd \\xff byte" in (tmp_path / "steps" / "some-task.log").read_text(errors="backslashreplace")
    assert status(tmp_path)["ended"] >= status(tmp_path)["started"]
    journal = read_journal(tmp_path / "some-task" / "journal")
    assert (journal["run"], journal["task"], journal["facts"], journal["warnings"]) == (
        "r1",
        "some-task",
        {"x": 1},
        ["careful"],
    )
    assert latest(journal) == {"train/loss": 0.5}
    assert json.loads((tmp_path / "steps" / "some-task.progress.json").read_text())["done"] == 1


@pytest.mark.parametrize(
    ("body", "kind", "user"),
    [
        ('raise SettingsError("bad option")', "SettingsError", True),
        ("1 / 0", "ZeroDivisionError", False),
        ("raise SystemExit(0)", "OwnCodeError", True),
    ],
)
def test_errors_are_told_apart(tmp_path: Path, body: str, kind: str, user: bool) -> None:
    process = play(tmp_path, body)
    process.communicate()
    assert process.returncode == 1
    error = status(tmp_path)["error"]
    assert (error["type"], error["user"]) == (kind, user)
    assert not (tmp_path / "some-task" / "journal").exists()


def test_data_problems_travel_with_the_error(tmp_path: Path) -> None:
    play(tmp_path, 'raise DataError([Problem("f", 3, "null", "m", "x")], 9)').communicate()
    assert status(tmp_path)["error"]["problems"] == [
        {"file": "f", "row": 3, "code": "null", "message": "m", "fix": "x"}
    ]


def test_other_code_than_the_keys_is_refused(tmp_path: Path) -> None:
    right = code_digest(step_roots("rejection_sample", "{}")).digest
    for key, code in [(make_key(right, {}), 0), (make_key("000000000000", {}), 1)]:
        process = play(tmp_path, key=key)
        process.communicate()
        assert process.returncode == code
    assert status(tmp_path)["error"]["type"] == "CodeChangedError"


def test_an_import_outside_the_digest_is_found(tmp_path: Path) -> None:
    key = make_key(code_digest(step_roots("rejection_sample", "{}")).digest, {})
    process = play(tmp_path, 'import importlib; importlib.import_module("preflow.steps.import_data.readers")', key=key)
    process.communicate()
    assert process.returncode == 1
    assert "preflow.steps.import_data.readers" in status(tmp_path)["error"]["message"]


def test_sigterm_stops_a_step(tmp_path: Path) -> None:
    process = play(tmp_path, "time.sleep(60)")
    wait_for_status(tmp_path)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert status(tmp_path)["error"]["type"] == "Stopped"


def test_a_step_whose_reader_is_gone_still_says_why_it_ended(tmp_path: Path) -> None:
    """In a pod the launcher reads what a step prints, and ends of the signal that the step is to save at."""
    body = """
    reading, writing = os.pipe(); os.dup2(writing, 1); os.close(reading); os.close(writing)
    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
    finally: step.log("saved")
"""
    play(tmp_path, body).communicate(timeout=60)
    assert status(tmp_path)["error"]["type"] == "Stopped"


def test_a_step_dies_with_its_launcher(tmp_path: Path) -> None:
    lock = tmp_path / "alive.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    process = play(tmp_path, "time.sleep(60)", PREFLOW_ALIVE=str(lock))
    wait_for_status(tmp_path)
    time.sleep(0.3)
    assert process.poll() is None
    holder.kill()
    process.communicate(timeout=20)
    assert process.returncode == 143


def wait_for_status(tmp_path: Path) -> None:
    path = tmp_path / "steps" / "some-task.log"
    for _ in range(400):
        if path.exists() and "WARNING: careful" in path.read_text(errors="replace"):
            return
        time.sleep(0.05)
    raise AssertionError("the step did not start")


def test_settings_are_parsed_strictly(tmp_path: Path) -> None:
    step = Step.detached(tmp_path, RejectionSettings(num_accepted=2).canonical())
    assert step.settings(RejectionSettings).num_accepted == 2
    with pytest.raises(SettingsError, match="num_acepted"):
        Step.detached(tmp_path, '{"num_acepted": 2}').settings(RejectionSettings)


def test_an_attempt_waits_for_one_that_is_still_saving(tmp_path: Path) -> None:
    """Killed launchers leave a step that saves for some seconds more; the next attempt uses the same folder."""
    body = "step.checkpoints; print('mine', flush=True); time.sleep(float(os.environ['HOLD']))"
    (tmp_path / "steps").mkdir()
    log = tmp_path / "steps" / "some-task.log"
    log.touch()

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in log.read_text(errors="replace"):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    first = play(tmp_path, body, HOLD="60")
    wait_for("mine")
    second = play(tmp_path, body, HOLD="0")
    wait_for("waiting for it")
    assert log.read_text(errors="replace").count("mine") == 1
    first.kill()
    assert second.wait(30) == 0
    assert log.read_text(errors="replace").count("mine") == 2
    first.communicate()
    second.communicate()


EDIT = """
    from pathlib import Path
    import preflow.errors
    file = Path(preflow.errors.__file__).parent / "selection" / "rejection.py"
    file.write_text(file.read_text() + "\\nEDITED = 1\\n")
"""
IMPORT = "\n    import preflow.selection.rejection"


@pytest.mark.parametrize(("body", "code"), [(EDIT + IMPORT, 1), (IMPORT + EDIT, 0)])
def test_what_is_imported_after_it_was_edited_is_refused(tmp_path: Path, body: str, code: int) -> None:
    """The step's own check is over then; what is edited once it is loaded does no harm."""
    shutil.copytree(Path(preflow.errors.__file__).parent, tmp_path / "code" / "preflow")
    key = make_key(code_digest(step_roots("rejection_sample", "{}")).digest, {})
    process = play(tmp_path, body.strip(), key, PYTHONPATH=str(tmp_path / "code"))
    _, errors = process.communicate()
    assert process.returncode == code, errors
    if code:
        error = status(tmp_path)["error"]
        assert (error["type"], error["user"]) == ("CodeChangedError", True)
        assert "preflow.selection.rejection was edited" in error["message"]


def test_checkpoints_depend_on_inputs_not_on_runs(tmp_path: Path) -> None:
    places = [
        Step("s", settings, "", tmp_path / "j", {"data": data}).checkpoints
        for settings, data in [("{}", "a"), ("{}", "a"), ("{}", "b"), ('{"x":1}', "a")]
    ]
    assert places[0] == places[1]
    assert len(set(places)) == 3


def test_repeated_steps_count_once_in_a_series(tmp_path: Path) -> None:
    step = Step.detached(tmp_path)
    for number, value in [(1, 1.0), (2, 2.0), (2, 3.0)]:
        step.metrics({"train/loss": value}, step=number)
    step.write_journal({})
    journal = read_journal(tmp_path / "journal.json")
    assert series(journal, "train/loss") == [(1, 1.0), (2, 3.0)]
    assert metric_names(journal) == ["train/loss"]
    with pytest.raises(ArtifactError, match="not a journal"):
        read_journal(tmp_path / "absent")
