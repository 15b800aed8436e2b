"""The run as it is in the bucket, projected into MLflow."""

from preflow.tracking.pod import record_run


def run() -> None:
    """Never fails: a run is not worse for a server that does not answer."""
    record_run()
