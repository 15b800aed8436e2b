"""The image of each role. On a cluster, submission replaces these names by digests. Standard library only: containers/build.py
reads them too."""

import hashlib
from pathlib import Path

from preflow import __version__

DATA_IMAGE = f"preflow/data-python:{__version__}"
GENERATE_IMAGE = f"preflow/generate-python:{__version__}"
TRAIN_IMAGE = f"preflow/train-python:{__version__}"
IMAGES = {"data": DATA_IMAGE, "generate": GENERATE_IMAGE, "train": TRAIN_IMAGE}


def source_digest() -> str:
    """sha256 over the names and bytes of all modules of this package: whether an image holds the code that is installed."""
    package = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for name in sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py")):
        content = (package / name).read_bytes()
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()
