"""The cluster that the tests run on: its addresses are in the environment, which `make cluster-test` sets for the one it starts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.build_images import build_images
from cluster.lab import Lab


@pytest.fixture(scope="session")
def lock_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images.lock of images that the nodes have: the one that PREFLOW_TEST_LOCK names, or of images built now."""
    path = Path(os.environ.get("PREFLOW_TEST_LOCK") or tmp_path_factory.mktemp("images") / "images.lock").absolute()
    if not path.is_file():
        build_images(path)
    return path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, lock_path: Path) -> Iterator[Lab]:
    """A desk with a context for the cluster; its secrets and its part of the bucket go when the tests are over."""
    lab = Lab(tmp_path_factory.mktemp("lab"), lock_path)
    yield lab
    lab.close()
