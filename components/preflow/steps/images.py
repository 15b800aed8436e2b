"""The image of each role. On a cluster, submission replaces these names by digests."""

from preflow import __version__

DATA_IMAGE = f"preflow/data-python:{__version__}"
GENERATE_IMAGE = f"preflow/generate-python:{__version__}"
TRAIN_IMAGE = f"preflow/train-python:{__version__}"
