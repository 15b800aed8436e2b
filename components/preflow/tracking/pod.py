"""Recording from inside a pod: at a run's end, when one of its steps fails, and while a long step works.

    python -m preflow.tracking.pod live TASK      until its standard input is closed
    python -m preflow.tracking.pod failed TASK

The environment names the run, the bucket, and the server (PREFLOW_TRACKING_URI). What cannot be recorded is said in the pod's
log, and is nobody's failure: whoever submitted the run can write all of it later.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from preflow.artifacts.bucket import Bucket
from preflow.artifacts.files import replace_json, write_json
from preflow.tracking.from_bucket import RECORD, fetch_outputs, fetch_run, reuse_times, settle_reused
from preflow.tracking.json_files import read_json
from preflow.tracking.lineage import upstream_tasks
from preflow.tracking.projection import Projection
from preflow.tracking.recorder import begin, record_now
from preflow.tracking.runs import CLUSTER, RunReader

FOLDER = Path(os.environ.get("PREFLOW_POD_FOLDER", "/tmp/preflow/run")).with_name("record")
URI = "PREFLOW_TRACKING_URI"
STEP = "track"
WAITS = (2.0, 5.0, 15.0)  # when the server does not answer
LIVE_SECONDS, LIVE_WAITS = 2.0, (5.0, 15.0, 60.0)
OWN = ("step.json", "metrics.jsonl", "record.json")
"""What a step in this pod says of itself, as fresh as it is."""


def record_run() -> None:
    """Write the run, which is over but for this task, to the server."""
    if not os.environ.get(URI):
        _say("no server is named in the cluster profile (mlflow): nothing is recorded here")
        return
    _insistently(_close_run)


def record_failure(task: str) -> None:
    """Write the run of a task that has just failed, and with it the run."""
    _insistently(lambda: _close_failed(task))


def follow_step(task: str, wait: Callable[[float], bool]) -> None:
    """Write what a step says of itself while it works, and once more when `wait` says that it has ended."""
    reader: RunReader | None = None
    projection: Projection | None = None
    failures, is_over = 0, False
    while True:
        try:
            reader = reader or RunReader(_live_folder(task))
            view = reader.read()
            assert view is not None
            projection = projection or begin(reader.folder.parents[1], view, _say)
            projection.push(view)
            failures = 0
        except Exception as error:  # a step must not notice any trouble of the store
            _say(f"{type(error).__name__}: {error}")
            projection, failures = None, failures + 1
        if is_over:
            return
        is_over = wait(LIVE_WAITS[min(failures, len(LIVE_WAITS)) - 1] if failures else LIVE_SECONDS)


def _close_run() -> None:
    folder, about = _fetch("run")
    tasks = [name for name in about["order"] if about["tasks"][name]["step"] != STEP]
    _settle(folder, tasks)
    failed = [record for name in tasks if (record := _record(folder, name)) and record["state"] == "FAILED"]
    _end(folder, failed[0] if failed else None)


def _close_failed(task: str) -> None:
    folder, about = _fetch("failed")
    _take_own(folder, task)
    record = _record(folder, task)
    if record is None or record["state"] != "FAILED":
        _say(f"{task} left no word of a failure: the run is left open")
        return
    _settle(folder, _upstream(folder, about, task))
    _end(folder, record)


def _live_folder(task: str) -> Path:
    """The run up to this task: others that go on beside it have recorders of their own."""
    folder, about = _fetch("live")
    upstream = _upstream(folder, about, task)
    for name in about["tasks"]:
        if name not in upstream:
            for suffix in OWN:
                (folder / "steps" / f"{name}.{suffix}").unlink(missing_ok=True)
    _take_own(folder, task)
    _settle(folder, upstream)
    return folder


def _fetch(purpose: str) -> tuple[Path, Mapping[str, Any]]:
    """The run's folder from the bucket, and its run.json."""
    bucket, run = Bucket.from_environment(), os.environ["PREFLOW_RUN_ID"]
    assert bucket is not None
    folder = FOLDER / purpose / "runs" / run
    fetch_run(bucket, run, folder)
    about = read_json(folder / "run.json")
    assert about is not None
    about["tracking"]["uri"] = os.environ[URI]
    write_json(folder / "run.json", about)
    cluster = {"bucket": bucket.uri, "kfp_run": os.environ.get("PREFLOW_KFP_RUN_ID", "")}
    replace_json(
        folder / CLUSTER, cluster | (read_json(folder / CLUSTER) or {})
    )  # written when the run was accepted: just now
    return folder, about


def _take_own(folder: Path, task: str) -> None:
    """What this pod's step writes, in place of what the bucket has of it, maybe from an earlier try."""
    own = Path(os.environ["PREFLOW_RUN_DIR"]) / "steps"
    for suffix in OWN:
        place = folder / "steps" / f"{task}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(own / place.name)


def _upstream(folder: Path, about: Mapping[str, Any], task: str) -> list[str]:
    found = set(upstream_tasks(read_json(folder / "pipeline.json") or {}, task))
    return [name for name in about["order"] if name in found and name in about["tasks"]]


def _settle(folder: Path, tasks: Iterable[str]) -> None:
    """Say of tasks that must be done, and said nothing in this run, that they were reused."""
    bucket = Bucket.from_environment()
    assert bucket is not None
    settle_reused(bucket, folder, reuse_times(read_json(folder / "pipeline.json") or {}, folder, tasks))
    for problem in fetch_outputs(bucket, folder):
        _say(problem)


def _record(folder: Path, task: str) -> dict[str, Any] | None:
    return read_json(folder / "steps" / f"{task}{RECORD}")


def _end(folder: Path, failed: Mapping[str, Any] | None) -> None:
    """Say that the run is over, in this folder alone, and write all of it."""
    error = {**failed["error"], "task": failed["task"]} if failed else None
    write_json(
        folder / "end.json", {"state": "FAILED" if failed else "SUCCEEDED", "error": error, "ended": time.time()}
    )
    record_now(folder, folder.parents[1], _say)


def _insistently(write: Callable[[], None]) -> None:
    for seconds in (*WAITS, 0.0):
        try:
            write()
            return
        except Exception as error:
            _say(f"{type(error).__name__}: {error}")
            time.sleep(seconds)
    _say("given up; `preflow compare` and `preflow ui` write it from where the run was submitted")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} MLflow: {text}", flush=True)


def _wait_for_end(seconds: float) -> bool:
    """Whether the step has ended, which closes our standard input."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def main(arguments: list[str] | None = None) -> None:
    mode, task = arguments or sys.argv[1:]
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    with suppress(OSError):
        os.nice(10)  # the step comes first
    follow_step(task, _wait_for_end) if mode == "live" else record_failure(task)


if __name__ == "__main__":
    main()
