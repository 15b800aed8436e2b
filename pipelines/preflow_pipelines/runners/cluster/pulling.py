"""Fetching outputs of a cluster run, verified against the digests in its records."""

from collections.abc import Callable
from pathlib import Path

from preflow.artifacts.files import clear, write_json
from preflow.artifacts.manifest import file_digests
from preflow.errors import ArtifactError
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.folder import RunFolder


def pull(
    folder: RunFolder, connection: Connection, task: str, output: str, into: Path | None, say: Callable[[str], None]
) -> Path:
    """The output's place here. Raises BucketError if it is gone, ArtifactError if it is not what the step wrote."""
    record = folder.record(task)
    assert record is not None, "asked for by the caller"
    uri = record.get("uris", record["outputs"])[output]
    target = (into / f"{task}.{output}") if into else folder.path / "outputs" / task / output
    expected = record["files"].get(output, {})
    if not expected or file_digests(target) != expected:
        clear(target)
        say(f"fetching {uri}")
        connection.bucket.download(connection.bucket.name_of(uri), target)
        _refuse_damaged(target, expected, uri)
    if into is None and record["outputs"][output] != str(target):
        outputs = record["outputs"] | {output: str(target)}
        write_json(folder.step_file(task, "record.json"), record | {"outputs": outputs}, indent=1)
    return target


def _refuse_damaged(target: Path, expected: dict[str, str], uri: str) -> None:
    found = file_digests(target)
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if expected and wrong:
        clear(target)
        raise ArtifactError(
            f"{uri}: {wrong[0]} is not what the step wrote. Expected the bytes of its record. Run the step again: preflow rerun"
        )
