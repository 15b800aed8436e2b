"""A stored cluster run again: with a new nonce for some steps, in its own spec and with its own images."""

from collections.abc import Mapping

from preflow_pipelines.runners.cluster.submit import Submission
from preflow_pipelines.runners.folder import RunFolder

OWN = ("id", "created", "tasks", "nonces", "parent", "relation")
"""What a run says of itself, and not of what it does."""


def submission_of(run: RunFolder, nonces: Mapping[str, str]) -> Submission:
    """What was submitted, with other nonces; its inputs and images are where they were."""
    about, spec = run.about, run.read("pipeline.json")
    assert spec is not None, "a run without a pipeline"
    kept = {name: value for name, value in about.items() if name not in OWN}
    return Submission(spec, run.read("platform.json") or {}, about["arguments"], kept, dict(nonces))
