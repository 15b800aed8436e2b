"""What win rates are turned into: SPPO's targets, advantages of a policy gradient. Candidates of one prompt at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def sppo_targets(win_rates: Sequence[float] | Vector, eta: float, *, exact_normaliser: bool = False) -> Vector:
    """[K] nats that a log-ratio is regressed onto (Wu et al. 2024, arXiv 2405.00675, equations 4.6 and 4.7).

    `win_rates` include the candidate itself; `eta` multiplies them (the paper's is 1000, DPO's beta = 1 / eta). The exact
    step has eta * w - log Z with Z the mean of exp(eta * w) over the candidates; the paper puts eta / 2 for log Z.

    >>> sppo_targets([0.625, 0.375], 1000.0).tolist()
    [125.0, -125.0]
    """
    scaled = eta * np.asarray(win_rates, dtype=np.float64)
    if not exact_normaliser:
        return scaled - eta / 2
    return scaled - (np.logaddexp.reduce(scaled) - np.log(len(scaled)))


def rloo_advantages(rewards: Sequence[float] | Vector) -> Vector:
    """[K] reward minus the mean reward of the others (Ahmadian et al. 2024, arXiv 2402.14740).

    Leave-one-out win rates always have mean 1/2, so for them this is (r - 1/2) K / (K - 1).

    >>> rloo_advantages([0.75, 0.25]).tolist()
    [0.5, -0.5]
    """
    found = _group(rewards)
    return (found - found.mean()) * (len(found) / (len(found) - 1))


def grpo_advantages(rewards: Sequence[float] | Vector, epsilon: float = 1e-4) -> Vector:
    """[K] (r - mean) / (std + epsilon), std with K - 1 in its denominator (Shao et al. 2024, arXiv 2402.03300; TRL 1.16).

    A group of equal rewards has no advantage.
    """
    found = _group(rewards)
    return (found - found.mean()) / (found.std(ddof=1) + epsilon)


def signed(win_rates: Sequence[float] | Vector) -> Vector:
    """Win rates of [0, 1] in SPO's range [-1, 1] (arXiv 2401.04056): 2w - 1, mean 0 over leave-one-out win rates."""
    return 2 * np.asarray(win_rates, dtype=np.float64) - 1


def _group(rewards: Sequence[float] | Vector) -> Vector:
    found = np.asarray(rewards, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"expected the rewards of at least two candidates of one prompt, got shape {found.shape}")
    return found
