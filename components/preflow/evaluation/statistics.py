"""Means with intervals, where rows of one prompt belong together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
DRAWS_AT_ONCE = 1 << 21  # 16 MiB of indices, however many prompts there are
FEW_CLUSTERS = 20


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap interval; `low` and `high` are None where there is one cluster, which has no spread."""

    mean: float
    low: float | None
    high: float | None
    clusters: int

    def as_numbers(self, name: str) -> dict[str, float]:
        """`name`, `name_low` and `name_high`."""
        numbers = {name: self.mean}
        if self.low is not None and self.high is not None:
            numbers |= {f"{name}_low": self.low, f"{name}_high": self.high}
        return numbers


def clustered_mean(
    values: Sequence[float],
    clusters: Sequence[str],
    confidence: float,
    seed: int,
    weights: Sequence[float] | None = None,
) -> Estimate:
    """The (weighted) mean of `values`, with a percentile bootstrap over whole clusters.

    (Efron and Tibshirani 1993, section 13.3.) Rows of one prompt are resampled together: they are not independent. The
    draws are fixed by `seed`, and so is the result, whatever the order of the rows. Intervals of fewer than about
    FEW_CLUSTERS clusters are too narrow.
    """
    sums, counts = _by_cluster(values, clusters, weights)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Estimate(mean, None, None, len(sums))
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    block = max(1, DRAWS_AT_ONCE // len(sums))
    for start in range(0, RESAMPLES, block):
        part = means[start : start + block]
        picks = generator.integers(0, len(sums), size=(len(part), len(sums)))
        part[:] = sums[picks].sum(1) / counts[picks].sum(1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), len(sums))


def clustered_error(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float | None]:
    """(mean, standard error) with whole clusters as the independent units; no error from a single one.

    The mean is a ratio of two sums over clusters; its error is the linearised one (Cochran 1977, section 2.11).
    """
    sums, counts = _by_cluster(values, clusters, None)
    mean = sums.sum() / counts.sum()
    if len(sums) < 2:
        return float(mean), None
    residuals = sums - mean * counts
    variance = (residuals**2).sum() * len(sums) / (len(sums) - 1)
    return float(mean), float(np.sqrt(variance) / counts.sum())


def _by_cluster(
    values: Sequence[float], clusters: Sequence[str], weights: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """(weighted sum of the values, sum of the weights) of every cluster."""
    assert len(values) == len(clusters) > 0, "an estimate needs at least one value"
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    sums = np.bincount(index, weights=weight * np.asarray(values, dtype=np.float64))
    return sums, np.bincount(index, weights=weight)
