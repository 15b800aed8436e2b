"""Steps as forks of a server: what they do and how they end is as if each had been started by itself."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from kfp.local import subprocess_task_handler

from preflow_pipelines.runners import warm
from preflow_pipelines.runners.warm import WarmSteps
from toy_workflow import Recorder, counts, play, states


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every step is taken for a heavy one; the server loads little."""
    light = tmp_path / "server.py"
    light.write_text(
        warm.SERVER.read_text().replace('"torch"', '"json"').replace('"transformers.modeling_utils"', '"json"')
    )
    monkeypatch.setattr(warm, "SERVER", light)
    monkeypatch.setattr(warm, "HEAVY", ("python",))
    monkeypatch.setattr(warm, "GPUS", ())
    monkeypatch.setenv("TOY_COUNTS", str(tmp_path / "counts"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "given").write_text("given ")
    return tmp_path / "given"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """(process, connection) of every server that is started."""
    start, found = warm._start, []
    monkeypatch.setattr(warm, "_start", lambda: found.append(start()) or found[-1])
    return found


@pytest.fixture
def colds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per step that was started by itself."""
    original, found = subprocess_task_handler.run_local_subprocess, []

    def counted(*given: Any, **named: Any) -> int:
        found.append(1)
        return original(*given, **named)

    monkeypatch.setattr(subprocess_task_handler, "run_local_subprocess", counted)
    return found


def ends(watcher: Recorder) -> set[str]:
    """How the tasks of a run ended."""
    return {state for _, state in states(watcher)}


def test_steps_are_forks_and_write_the_same(given: Path, colds: list[int]) -> None:
    assert ends(play(given)) == {"EXECUTED"} and counts() == {"first": 1, "second": 1, "third": 1}
    assert not colds
    (page,) = (given.parent / "runs").rglob("page")
    assert page.read_text() == "given 12inner/b"
    assert ends(play(given, "r2")) == {"CACHED"}


@pytest.mark.parametrize("how", ["fail", "die", "leave"])
def test_a_step_that_fails(given: Path, how: str, colds: list[int]) -> None:
    for name in ("r1", "r2"):
        watcher = Recorder()
        with pytest.raises(RuntimeError):
            play(given, name, watcher, two=how)
        assert ("second", "FAILED") in watcher.said
    assert counts() == {"first": 1, "second": 2} and not colds


def test_a_server_that_is_gone_is_done_without(given: Path, colds: list[int], servers: list[Any]) -> None:
    def kill() -> None:
        servers[0][0].kill()
        servers[0][0].wait()

    assert ends(play(given, "r1", Recorder({"second": kill}))) == {"EXECUTED"}
    assert len(colds) == 1 and len(servers) == 2, "the third step has a new one"


def test_a_step_leaves_with_the_server(given: Path, servers: list[Any]) -> None:
    steps: list[int] = []

    def kill_in_a_while() -> None:
        process, deadline = servers[0][0], time.monotonic() + 20
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not steps and time.monotonic() < deadline:
            steps.extend(map(int, children.read_text().split()))
        time.sleep(0.3)
        process.kill()

    watcher = Recorder({"second": threading.Thread(target=kill_in_a_while).start})
    with pytest.raises(RuntimeError):
        play(given, "r1", watcher, two="sleep 60")
    assert ("second", "FAILED") in watcher.said
    status, deadline = Path(f"/proc/{steps[0]}/stat"), time.monotonic() + 5
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_server_that_cannot_load_is_done_without(given: Path, colds: list[int]) -> None:
    warm.SERVER.write_text("import time\ntime.sleep(1)\nraise SystemExit(3)\n")
    assert ends(play(given)) == {"EXECUTED"}
    assert len(colds) == 3


def test_no_server_is_left(given: Path, servers: list[Any]) -> None:
    play(given)
    ((process, _),) = servers
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_where_there_is_a_gpu_every_step_starts_by_itself(
    given: Path, colds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "GPUS", ("/dev/null",))
    assert ends(play(given)) == {"EXECUTED"} and len(colds) == 3


def test_commands_of_another_kind_are_left_alone() -> None:
    called: list[Any] = []
    steps = WarmSteps(lambda **given: called.append(given) or 3)
    steps.image = warm.HEAVY[0]
    assert steps.run(["sh", "-c", "true"]) == 3 and called == [{"full_command": ["sh", "-c", "true"], "env_vars": None}]
    steps.close()
