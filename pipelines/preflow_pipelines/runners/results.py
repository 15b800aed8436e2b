"""What a run brought, and who looks on while it goes: the same for a run here and for one on a cluster."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from preflow.errors import DataError, PreflowError, Problem
from preflow.tracking.journal import Journal, latest, read_journal
from preflow_pipelines.runners.folder import RunFolder


class Observer(Protocol):
    """Who looks on: the live table, or a test."""

    def begin(self, tasks: Sequence[str]) -> None: ...
    def started(self, task: str) -> None: ...
    def progress(self, task: str, progress: Mapping[str, Any]) -> None: ...
    def finished(self, task: str, state: str, seconds: float) -> None: ...
    def message(self, text: str) -> None: ...


@dataclass(frozen=True)
class StepResult:
    name: str
    state: str
    seconds: float
    outputs: dict[str, str]


@dataclass(frozen=True)
class RunResult:
    """`metrics` are the headline numbers of the run's journals, `warnings` what its steps warned of; `error` is the failed
    step's, as its record says."""

    folder: RunFolder
    state: str
    steps: list[StepResult]
    metrics: dict[str, float]
    warnings: list[str]
    error: dict[str, Any] | None

    def raise_if_users_mistake(self) -> None:
        """A step that stopped on the user's input is the user's to mend: the command then exits with 2."""
        if self.error and self.error.get("user"):
            problems = [Problem(**problem) for problem in self.error.get("problems", [])]
            raise DataError(problems, self.error["total"]) if problems else PreflowError(self.error["message"])


def result_of(
    folder: RunFolder, state: str, tasks: Sequence[str], error: dict[str, Any] | None, observer: Observer
) -> RunResult:
    """The result of a run that is over, from the records of its tasks."""
    steps = []
    for task in tasks:
        record = folder.record(task)
        if record is None:
            observer.finished(task, "SKIPPED", 0.0)
            steps.append(StepResult(task, "SKIPPED", 0.0, {}))
        else:
            steps.append(StepResult(task, record["state"], record["seconds"], record["outputs"]))
    metrics: dict[str, float] = {}
    warnings: list[str] = []
    for name, journal in _journals(folder):
        metrics |= latest(journal)  # the later step's, where two say the same
        warnings += [f"{name}: {text}" for text in dict.fromkeys(journal["warnings"])]
    return RunResult(folder, state, steps, metrics, warnings, error)


def _journals(folder: RunFolder) -> Iterator[tuple[str, Journal]]:
    """Those of the run's tasks, as far as they can be read."""
    for record in folder.records():
        if journal := record["outputs"].get("journal"):
            with contextlib.suppress(PreflowError):
                yield record["task"], read_journal(journal)
