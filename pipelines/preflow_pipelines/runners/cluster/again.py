"""A stored cluster run again: with a new nonce for some steps, in its own spec and with its own images."""

from collections.abc import Mapping

from preflow.artifacts.bucket import Bucket
from preflow.errors import ClusterError
from preflow_pipelines.runners.cluster.submit import Submission
from preflow_pipelines.runners.folder import RunFolder

OWN = ("id", "created", "tasks", "nonces", "parent", "relation")
"""What a run says of itself, and not of what it does."""


def refuse_lost_inputs(run: RunFolder, bucket: Bucket) -> None:
    """Raises ClusterError if the bucket has lost what the run reads: a step that runs again would find nothing there."""
    uris = (value for name, value in run.about["arguments"].items() if name.endswith("_uri"))
    for uri in uris:
        if uri.startswith(f"{bucket.uri}/inputs/") and not bucket.exists(bucket.name_of(uri)):
            raise ClusterError(
                f"run {run.id}: its input {uri} is gone from the bucket. Expected it there. Submit the run file again."
            )


def submission_of(run: RunFolder, nonces: Mapping[str, str]) -> Submission:
    """What was submitted, with other nonces; its inputs and images are where they were."""
    about, spec = run.about, run.read("pipeline.json")
    assert spec is not None, "a run without a pipeline"
    kept = {name: value for name, value in about.items() if name not in OWN}
    return Submission(spec, run.read("platform.json") or {}, about["arguments"], kept, dict(nonces))
