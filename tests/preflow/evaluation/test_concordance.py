"""Rank agreement: against counting by hand, under ties, with an error that is that of resampled rows."""

import numpy as np
import pytest

from preflow.evaluation import concordance
from preflow.evaluation.concordance import concordance_numbers
from preflow.evaluation.residuals import residual_numbers

NAME = "eval/reward_concordance"


def by_hand(ratios: np.ndarray, facets: np.ndarray) -> float:
    agreed, compared = 0.0, 0
    for i in range(len(ratios)):
        for j in range(len(ratios)):
            if facets[i] > facets[j]:
                compared += 1
                agreed += 0.5 if abs(ratios[i] - ratios[j]) <= 1e-4 else float(ratios[i] > ratios[j])
    return agreed / compared


def test_worked_example() -> None:
    """Good 2 and 0, bad 1 and 0: 2 > 1, 2 > 0, 0 < 1, 0 = 0 make 2.5 of 4."""
    ratios, labels = np.array([2.0, 0.0, 1.0, 0.0]), np.array([True, True, False, False])
    assert concordance_numbers(ratios, labels, list("abcd"))[NAME] == 2.5 / 4


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_it_counts_pairs(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concordance, "ROWS_AT_ONCE", 7)
    generator = np.random.default_rng(levels)
    ratios = generator.normal(size=50).round(1)
    facets = generator.integers(0, levels, 50).astype(float)
    found = concordance_numbers(ratios, facets, [str(number) for number in range(50)])
    assert found[NAME] == pytest.approx(by_hand(ratios, facets), abs=1e-12)
    assert concordance_numbers(-ratios, facets, [str(n) for n in range(50)])[NAME] == pytest.approx(1 - found[NAME])


def test_equal_models_are_half_and_equal_labels_nothing() -> None:
    assert concordance_numbers(np.zeros(4), np.array([1, 0, 1, 0]), list("aabb"))[NAME] == 0.5
    assert concordance_numbers(np.arange(4.0), np.zeros(4, dtype=bool), list("abcd")) == {}


def test_the_error_is_that_of_new_rows() -> None:
    """Against the spread of the statistic over fresh samples: within a tenth of it."""
    generator = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(400):
        labels = generator.random(80) < 0.4
        ratios = generator.normal(size=80) + 0.8 * labels
        found = concordance_numbers(ratios, labels, [str(number) for number in range(80)])
        values.append(found[NAME])
        errors.append(found[f"{NAME}_se"])
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_rows_of_a_prompt_count_as_one() -> None:
    generator = np.random.default_rng(1)
    labels, ratios = generator.random(60) < 0.5, generator.normal(size=60)
    apart = concordance_numbers(ratios, labels, [str(number) for number in range(60)])
    doubled = concordance_numbers(
        np.repeat(ratios, 2), np.repeat(labels, 2), [str(number // 2) for number in range(120)]
    )
    assert doubled[NAME] == pytest.approx(apart[NAME])
    assert doubled[f"{NAME}_se"] == pytest.approx(apart[f"{NAME}_se"], rel=1e-9)


def test_residuals() -> None:
    """r - V - tau h: 1 - 0.5 - 0.5 * 1 = 0 and -1 - 0.5 + 0.5 = -1."""
    found = residual_numbers(np.array([1.0, -1.0]), np.array([0.5, 0.5]), np.array([1.0, -1.0]), 0.5)
    assert found == {"eval/residual": pytest.approx(0.5**0.5), "eval/explained_variance": pytest.approx(0.75)}
    assert "eval/explained_variance" not in residual_numbers(np.ones(3), np.zeros(3), np.zeros(3), 1.0)
