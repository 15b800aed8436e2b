"""Means with intervals, where rows of one prompt belong together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its bootstrap interval."""

    mean: float
    low: float
    high: float


def clustered_mean(values: Sequence[float], clusters: Sequence[str], confidence: float, seed: int) -> Estimate:
    """The mean of `values` with a percentile bootstrap over whole clusters (Efron and Tibshirani 1993, section 13.3).

    Rows of one prompt are resampled together: they are not independent. The draws are fixed by `seed`.
    """
    sums, counts = _by_cluster(values, clusters)
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, len(sums), size=(RESAMPLES, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high))


def clustered_error(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float]:
    """(mean, standard error) with whole clusters as the independent units."""
    sums, counts = _by_cluster(values, clusters)
    mean = sums.sum() / counts.sum()
    if len(sums) < 2:
        return float(mean), float("nan")
    residuals = sums - mean * counts
    variance = (residuals**2).sum() * len(sums) / (len(sums) - 1)
    return float(mean), float(np.sqrt(variance) / counts.sum())


def _by_cluster(values: Sequence[float], clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    assert len(values) == len(clusters) > 0, "an estimate needs at least one value"
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(index, weights=np.asarray(values, dtype=np.float64)), np.bincount(index).astype(np.float64)
