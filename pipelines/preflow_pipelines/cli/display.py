"""The live table of a run: one line per step with its state, elapsed time, progress and remaining time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

STYLES = {
    "EXECUTED": "green",
    "CACHED": "cyan",
    "FAILED": "bold red",
    "STOPPED": "yellow",
    "SKIPPED": "dim",
    "RUNNING": "yellow",
    "WAITING": "dim",
}
LINE_SECONDS = 30


@dataclass
class Line:
    """What is known of one step."""

    state: str = "WAITING"
    started: float = 0.0
    seconds: float = 0.0
    progress: Mapping[str, Any] = field(default_factory=dict)
    printed: float = 0.0


class RunDisplay:
    """Draws on standard error; without a terminal it prints a line per change and one per half minute of progress."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        self.lines: dict[str, Line] = {}
        self._spinner = Spinner("dots", style="yellow")
        self._live = Live(console=self.console, get_renderable=self._table, refresh_per_second=5, transient=False)

    def __enter__(self) -> Self:
        return self

    def begin(self, tasks: Sequence[str]) -> None:
        """The workflow's steps are known: start to draw."""
        self.lines = {task: Line() for task in tasks}
        if self.console.is_terminal:
            self._live.start()

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def started(self, task: str) -> None:
        self.lines[task] = Line("RUNNING", started=time.monotonic(), printed=time.monotonic())
        self._print(f"{task:<22} started")

    def progress(self, task: str, progress: Mapping[str, Any]) -> None:
        line = self.lines[task]
        line.progress = progress
        if time.monotonic() - line.printed > LINE_SECONDS:
            line.printed = time.monotonic()
            self._print(f"{task:<22} {_amount(progress)} {remaining(progress)}")

    def finished(self, task: str, state: str, seconds: float) -> None:
        line = self.lines.setdefault(task, Line())
        line.state, line.seconds = state, seconds
        self._print(f"{task:<22} {state.lower():<9} {duration(seconds)}")

    def message(self, text: str) -> None:
        self.console.print(Text(text))

    def _print(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(Text(text.rstrip()), soft_wrap=True)

    def _table(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for task, line in self.lines.items():
            running = line.state == "RUNNING"
            seconds = time.monotonic() - line.started if running else line.seconds
            table.add_row(
                self._spinner if running else Text(_MARKS.get(line.state, " "), style=STYLES[line.state]),
                Text(task),
                Text(line.state.lower(), style=STYLES[line.state]),
                Text(duration(seconds) if line.state not in ("WAITING", "SKIPPED") else "", justify="right"),
                _bar(line.progress) if running else Text(""),
                Text(f"{_amount(line.progress)} {remaining(line.progress)}" if running else "", style="dim"),
            )
        return Group(table)


_MARKS = {"EXECUTED": "✓", "CACHED": "≡", "FAILED": "✗", "STOPPED": "✗", "SKIPPED": "-", "WAITING": "·"}


def _bar(progress: Mapping[str, Any]) -> ProgressBar | Text:
    total = progress.get("total")
    return ProgressBar(total=total, completed=progress.get("done", 0), width=24) if total else Text("")


def _amount(progress: Mapping[str, Any]) -> str:
    if "done" not in progress:  # why it has not begun
        return str(progress.get("note", ""))
    total = f"/{progress['total']:,}" if progress.get("total") else ""
    note = f" ({progress['note']})" if progress.get("note") else ""
    return f"{progress.get('done', 0):,}{total} {progress.get('unit', '')}{note}"


def remaining(progress: Mapping[str, Any]) -> str:
    """Time left at the rate so far, once there is a rate."""
    done, total, seconds = progress.get("done", 0), progress.get("total") or 0, progress.get("seconds", 0.0)
    own = done - progress.get("from", 0)
    if own <= 0 or done >= total or seconds < 1:
        return ""
    return f"{duration(seconds * (total - done) / own)} left"


def duration(seconds: float) -> str:
    """Seconds as 0.4s, 12s, 3:05 or 2:00:01."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
