"""The one module that knows private names of kfp: it watches kfp.local run the tasks of a workflow.

Around each task: a lock, so that two runs do the same work once; the record of what happened; a check of reused
outputs, which kfp trusts as soon as their top path exists. Pinned to kfp 2.17; its tests are the gate for another one.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from kfp import components, local
from kfp.local import subprocess_task_handler
from kfp.local.orchestrator import task_executor
from kfp.local.status import Status

from preflow.artifacts.ids import canonical_json
from preflow_pipelines.runners.locks import exclusive
from preflow_pipelines.runners.warm import warm_steps


class Watcher(Protocol):
    """What a run does around its tasks."""

    def started(self, task: str) -> None: ...
    def waiting(self, task: str, holder: str) -> None: ...
    def damaged(self, task: str, outputs: Mapping[str, str]) -> str | None: ...
    def spoiled(self, task: str, arguments: Mapping[str, str]) -> str | None: ...
    def finished(
        self, task: str, state: str, started: float, arguments: Mapping[str, str], outputs: Mapping[str, str]
    ) -> None: ...


def run_pipeline(
    spec: Mapping[str, Any], arguments: Mapping[str, str], pipeline_root: Path, cache: Path, watcher: Watcher
) -> None:
    """Run a bound spec in this process, task after task. Raises RuntimeError if a task fails."""
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(pipeline_root),
        workspace_root=str(pipeline_root.parent / "workspace"),  # kfp removes it at the end, whatever it holds
        cache_root=str(cache),
        enable_caching=True,
    )
    component = components.load_component_from_text(json.dumps(spec))
    with _watched(watcher, cache / "locks", pipeline_root.parent.name):
        component(**arguments)


@contextmanager
def _watched(watcher: Watcher, locks: Path, run: str) -> Iterator[None]:
    original, cold = task_executor.execute_single_task, subprocess_task_handler.run_local_subprocess

    def watched(*, task_name: str, task_spec: Any, components: Any, executors: Any, io_store: Any, **rest: Any) -> Any:
        executor = executors[components[task_spec.component_ref.name].executor_label]
        call = {
            "task_name": task_name,
            "task_spec": task_spec,
            "components": components,
            "executors": executors,
            "io_store": io_store,
            **rest,
        }
        if executor.WhichOneof("spec") != "container":
            return original(**call)
        steps.image = executor.container.image
        arguments = _plain(task_executor.OrchestratorUtils.make_task_arguments(task_spec.inputs, io_store))
        identity = hashlib.sha256(canonical_json([task_name, arguments]).encode()).hexdigest()
        with exclusive(locks / identity[:40], lambda holder: watcher.waiting(task_name, holder), name=run):
            declared = set(components[task_spec.component_ref.name].output_definitions.artifacts)
            return _execute(watcher, task_name, arguments, declared, lambda: original(**call))

    with warm_steps(cold) as steps:
        task_executor.execute_single_task, subprocess_task_handler.run_local_subprocess = watched, steps.run
        try:
            yield
        finally:
            task_executor.execute_single_task, subprocess_task_handler.run_local_subprocess = original, cold


def _execute(
    watcher: Watcher, task: str, arguments: Mapping[str, str], declared: set[str], call: Callable[[], Any]
) -> Any:
    """Run or reuse one task. A reused output that is damaged is set aside, which makes kfp run the task after all.

    So is a new one whose inputs were changed beneath it: it would be reused as if it came from what they were.
    """
    dispatcher, dispatch = task_executor.task_dispatcher, task_executor.task_dispatcher.run_single_task_implementation
    ran: list[int] = []

    def counted(**arguments: Any) -> Any:
        if not ran:
            watcher.started(task)
        ran.append(1)
        outputs, status = dispatch(**arguments)
        # a process may end with 0 before its work is done: kfp would keep that as the result
        return outputs, status if declared <= set(outputs) else Status.FAILURE

    dispatcher.run_single_task_implementation = counted
    started, state, outputs = time.time(), "FAILED", {}
    try:
        answer = call()
        if not ran and (path := watcher.damaged(task, _plain(answer[0]))):
            _set_aside(Path(path))
            answer = call()
        if ran and answer[1] is Status.SUCCESS and (problem := watcher.spoiled(task, arguments)):
            _set_aside(Path(next(iter(_plain(answer[0]).values()))))  # kfp has an entry for it already: now it is void
            raise RuntimeError(problem)
        if answer[1] is Status.SUCCESS:
            state, outputs = "EXECUTED" if ran else "CACHED", _plain(answer[0])
        return answer
    except KeyboardInterrupt:
        state = "STOPPED"
        raise
    finally:
        dispatcher.run_single_task_implementation = dispatch
        watcher.finished(task, state, started, arguments, outputs)


def _set_aside(path: Path) -> None:
    target = path.with_name(f"{path.name}.damaged-{os.getpid()}-{time.time_ns()}")
    if path.exists():
        path.rename(target)


def _plain(values: Mapping[str, Any]) -> dict[str, str]:
    """Artifacts by their URI, parameters as they are."""
    return {name: getattr(value, "uri", value) for name, value in values.items()}
