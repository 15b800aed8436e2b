"""Optimal policies in closed form, over finitely many responses."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
# Azar et al. 2023, arXiv 2310.12036: the identity gives IPO, the log-odds DPO.
PSI = {
    "identity": lambda p: p,
    "logit": lambda p: np.log(p) - np.log1p(-p),
    "log_odds": lambda p: np.log(p) - np.log1p(-p),
    "bradley_terry": lambda p: np.log(p) - np.log1p(-p),
}


def kl_optimal_policy(reference: Sequence[float] | Vector, reward: Sequence[float] | Vector, beta: float) -> Vector:
    """reference * exp(reward / beta) / Z, the maximum of E[reward] - beta * KL(policy || reference)."""
    scores = np.log(np.asarray(reference, dtype=np.float64)) + np.asarray(reward, dtype=np.float64) / beta
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def psi_rewards(preferences: Sequence[Sequence[float]], behaviour: Sequence[float], psi: str) -> Vector:
    """g(y) = E over y' ~ behaviour of Psi(P(y beats y'))."""
    return PSI[psi](np.asarray(preferences, dtype=np.float64)) @ np.asarray(behaviour, dtype=np.float64)
