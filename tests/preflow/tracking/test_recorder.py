"""The recorder as a process that must end, and must not hold anybody up."""

import threading
from pathlib import Path
from typing import Any

import pytest

from fake_runs import FakeRun
from preflow.errors import SettingsError
from preflow.tracking import recorder
from preflow.tracking.recorder import follow, sync


def test_it_ends_with_the_folder_that_it_follows(tmp_path: Path) -> None:
    run, said = FakeRun(tmp_path, "1124-1000-ab12").begin(), []
    (run.folder / "run.json").unlink()
    thread = threading.Thread(target=lambda: said.append(follow(run.folder, tmp_path)), daemon=True)
    thread.start()
    thread.join(10)
    assert said == [False]


def test_a_store_that_cannot_be_opened_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow tries a store that is not there for minutes; `ui` and `compare` must not wait so long for every run."""
    asked: list[str] = []

    def closed(home: Path, tracking: dict[str, Any], kfp_run: str | None) -> None:
        asked.append(tracking["uri"])
        raise SettingsError("nobody there")

    monkeypatch.setattr(recorder, "open_store", closed)
    for number, uri in enumerate(["http://a", "http://a", "http://b", "http://a"]):
        tracking = {"uri": uri, "experiment": "preflow", "register_as": None}
        FakeRun(tmp_path, f"1124-1000-ab1{number}", started=1e9 + number, tracking=tracking).whole()
    problems = sync(tmp_path)
    assert asked == ["http://a", "http://b"]
    assert len(problems) == 4
    assert "1124-1000-ab13: http://a could not be opened" in problems[3]
