"""Recording from inside a pod: at a run's end, and when one of its steps fails."""

import os
import time
from pathlib import Path

from preflow.artifacts.bucket import Bucket
from preflow.tracking.from_bucket import fetch_outputs, fetch_run, settle_reused
from preflow.tracking.json_files import read_json

FOLDER = Path("/tmp/preflow/record")


def record_run() -> None:
    """Fetch the run from the bucket and write it to the MLflow server that PREFLOW_TRACKING_URI names, if any."""
    bucket = Bucket.from_environment()
    run = os.environ["PREFLOW_RUN_ID"]
    assert bucket is not None
    folder = FOLDER / "runs" / run
    fetch_run(bucket, run, folder)
    about = read_json(folder / "run.json") or {}
    now = time.time()
    settle_reused(bucket, folder, dict.fromkeys(about["order"], (now, now)))
    fetch_outputs(bucket, folder)
