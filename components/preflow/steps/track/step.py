"""The run as it is in the bucket, projected into MLflow; and the checkpoints that it needs no more."""

import os
import time

from preflow.artifacts.bucket import Bucket
from preflow.errors import BucketError
from preflow.tracking.pod import record_run


def run() -> None:
    """Never fails: a run is not worse for a server that does not answer."""
    try:
        forget_checkpoints()
    except BucketError as error:
        print(f"{time.strftime('%H:%M:%S')} the checkpoints are left in the bucket: {error}", flush=True)
    record_run()


def forget_checkpoints() -> None:
    """Delete those of this run's trainings: all their results lie in the artifact store by now.

    Where a lease stands, another run trains the same; what it leaves is its own last task's.
    """
    bucket = Bucket.from_environment()
    assert bucket is not None
    about = bucket.read_json(f"runs/{os.environ['PREFLOW_RUN_ID']}/run.json") or {"tasks": {}}
    mine = {task["lineage"] for task in about["tasks"].values()}
    for lineage in mine.intersection(bucket.names("checkpoints")):
        if not bucket.entries(f"checkpoints/{lineage}/lease"):
            bucket.delete(f"checkpoints/{lineage}")
