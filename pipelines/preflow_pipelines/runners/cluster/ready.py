"""Is the cluster ready for a run? All that would fail later, asked before anything is uploaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

from preflow_pipelines.hardware import Hardware
from preflow_pipelines.nodes import node_matches
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.findings import refuse_problems
from preflow_pipelines.runners.cluster.images import read_lock
from preflow_pipelines.runners.cluster.preflight import Wanted, preflight


def read_images(connection: Connection, roles: set[str]) -> dict[str, str]:
    """The image of each role, by digest. Raises ClusterError for a lock that is not of the code installed here."""
    lock = read_lock(Path(connection.profile.images))
    return {role: lock.reference(role) for role in sorted(roles)}


def refuse_unready(
    connection: Connection, hardware: Hardware, images: Mapping[str, str], home: Path, say: Callable[[str], None]
) -> None:
    """Raises ClusterError with everything that the cluster lacks."""
    say(f"checking the cluster {connection.context}")
    wanted = Wanted(images, {role: getattr(hardware, role) for role in images}, node_matches)
    findings = preflight(connection.profile, wanted, remembered_images(home))
    for finding in findings:
        if finding.state == "not checked":
            say(f"{finding.name} not checked: {finding.found}. {finding.fix}".strip())
    refuse_problems(findings)


def remembered_images(home: Path) -> Path:
    """The file that keeps which images a cluster's nodes could pull."""
    return home / "cache" / "images.json"
