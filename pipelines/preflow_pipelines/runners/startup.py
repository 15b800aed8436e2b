"""Import kfp without its cluster client: that halves the start of every local command.

Imported before anything that imports kfp, and only by what never talks to a cluster.
"""

import sys
import types


def skip_cluster_client() -> None:
    """Put a stand-in for `kfp.client` (which imports the Kubernetes SDK, 0.8 s) in place, unless kfp is there already."""
    if "kfp" not in sys.modules:
        stand_in = types.ModuleType("kfp.client")
        stand_in.Client = None  # type: ignore[attr-defined]
        sys.modules["kfp.client"] = stand_in
