"""The run as it is in the bucket, projected into MLflow."""


def run() -> None:
    """Never fails: a run is not worse for a server that does not answer."""
    from preflow.tracking.pod import record_run

    record_run()
