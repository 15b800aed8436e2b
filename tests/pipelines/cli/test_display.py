"""The live table of a run, on a terminal and without one."""

import io

import pytest
from rich.console import Console

from preflow_pipelines.cli.display import RunDisplay


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("state", ["EXECUTED", "CACHED", "FAILED", "STOPPED", "SKIPPED"])
def test_every_end_of_a_step_is_shown(state: str, terminal: bool) -> None:
    """STOPPED too: Ctrl-C must not end in a traceback of the table."""
    shown = io.StringIO()
    with RunDisplay(Console(file=shown, force_terminal=terminal, width=100)) as display:
        display.begin(["train-preference", "evaluate"])
        display.started("train-preference")
        display.progress("train-preference", {"done": 1, "total": 2, "unit": "steps", "seconds": 3.0})
        display.finished("train-preference", state, 4.0)
        display.message("a word")
    assert state.lower() in shown.getvalue()
    assert "a word" in shown.getvalue()
