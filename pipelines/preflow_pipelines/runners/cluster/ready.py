"""Is the cluster ready for a run? All that would fail later, asked before anything is uploaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

from preflow_pipelines.hardware import Hardware
from preflow_pipelines.runners.cluster.connection import Connection


def read_images(connection: Connection, roles: set[str]) -> dict[str, str]:
    """The image of each role."""
    import json

    return {
        role: each["image"]
        for role, each in json.loads(Path(connection.profile.images).read_text()).items()
        if role in roles
    }


def refuse_unready(
    connection: Connection, hardware: Hardware, images: Mapping[str, str], home: Path, say: Callable[[str], None]
) -> None:
    """Raises ClusterError with everything that the cluster lacks."""
