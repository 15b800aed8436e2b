"""Random draws keyed by what they are for, so that sharding, batch size and order change none."""

import hashlib

import numpy as np

from preflow.artifacts.ids import canonical_json


def uniforms(count: int, *key: int | str) -> np.ndarray:
    """`count` float64 numbers in [0, 1), a function of `key` alone (Philox, a counter-based generator)."""
    return generator(*key).random(count)


def generator(*key: int | str) -> np.random.Generator:
    """A generator that starts from the sha256 of `key`."""
    digest = hashlib.sha256(canonical_json(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
