"""How far implicit rewards rank completions as their labels or scores do.

Over all pairs of held-out completions that differ in label (or score), the share in which the one with the better label
(the higher score) has the higher log-ratio, ties half: for labels the area under the ROC curve, for scores Harrell's c
(1982). An implicit reward is defined up to a number per prompt, so pairs of different prompts are compared as well as
they can be: a policy that raises all completions of easy prompts is seen here, and not in a reward accuracy.
"""

from collections.abc import Sequence

import numpy as np

from preflow.losses.logps import TIE_NATS

ROWS_AT_ONCE = 512


def concordance_numbers(ratios: np.ndarray, facets: np.ndarray, prompts: Sequence[str]) -> dict[str, float]:
    """`eval/reward_concordance` with its standard error (prompts are the units); nothing where all facets are equal.

    ratios [N] nats, facets [N] numbers or truth values, prompts [N]. The error is that of a U-statistic: twice the
    spread of every prompt's own share in it (Hoeffding 1948), linearised, since the number of pairs varies too.
    """
    agreed, compared = _by_row(np.asarray(ratios, np.float64), np.asarray(facets, np.float64))
    if not compared.any():
        return {}
    mean = agreed.sum() / compared.sum()
    numbers = {"eval/reward_concordance": float(mean)}
    _, cluster = np.unique(np.asarray(prompts), return_inverse=True)
    residuals = np.bincount(cluster, weights=agreed - mean * compared)
    if len(residuals) > 1:
        variance = (residuals**2).sum() * len(residuals) / (len(residuals) - 1)
        numbers["eval/reward_concordance_se"] = float(2 * np.sqrt(variance) / compared.sum())
    return numbers


def _by_row(ratios: np.ndarray, facets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every row: in how many of its pairs both orders agree (ties half), and how many pairs it is in."""
    agreed, compared = np.zeros(len(ratios)), np.zeros(len(ratios))
    for start in range(0, len(ratios), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        better = np.sign(facets[part, None] - facets)
        lead = ratios[part, None] - ratios
        higher = np.where(np.abs(lead) <= TIE_NATS, 0.0, np.sign(lead))
        compared[part] = (better != 0).sum(1)
        agreed[part] = ((1 + better * higher) / 2 * (better != 0)).sum(1)
    return agreed, compared
