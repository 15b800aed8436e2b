"""The metrics of TOFU against numbers worked out by hand, scipy's means, and rouge_score's own rules."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import hmean

from preflow.evaluation.unlearning import (
    UTILITY_PARTS,
    answer_probability,
    choice_probability,
    forget_quality,
    forget_truth_ratio,
    log_truth_ratios,
    mean_nlls,
    model_utility,
    rouge_l_recalls,
    utility_truth_ratio,
)


def test_probabilities() -> None:
    """Sums of -6 and -2 nats over 3 and 1 tokens are 2 nats per token both; P = e^-2 each."""
    nlls = mean_nlls([-6.0, -2.0], [3, 1])
    assert nlls.tolist() == [2.0, 2.0]
    assert answer_probability(nlls) == pytest.approx(math.exp(-2))
    half = choice_probability([1.0], [[1.0 + math.log(3), 1.0 + math.log(1.5)]])  # 1 / (1 + 1/3 + 2/3)
    assert half == pytest.approx(0.5)
    assert choice_probability([2000.0], [[2000.0]]) == 0.5, "where every P underflows"
    assert choice_probability([0.0, 2000.0], [[2000.0], [0.0]]) == 0.5


def test_truth_ratio_means() -> None:
    """Wrong answers with P = 1/2 and 1/8, the right one with 1/4: geometric (1/4) / (1/4), arithmetic (5/16) / (1/4)."""
    nlls = [math.log(4)], [[math.log(2), math.log(8)]]
    assert np.exp(log_truth_ratios(*nlls)) == pytest.approx([1.0])
    assert np.exp(log_truth_ratios(*nlls, mean="arithmetic")) == pytest.approx([1.25])
    equal = [1.0], [[3.0] * 5]
    assert log_truth_ratios(*equal) == pytest.approx(log_truth_ratios(*equal, mean="arithmetic"))


def test_truth_ratio_aggregates() -> None:
    ratios = np.log([0.25, 1.0, 4.0])
    assert forget_truth_ratio(ratios) == pytest.approx((0.25 + 1 + 0.25) / 3)
    assert utility_truth_ratio(ratios) == pytest.approx(0.75 / 3)
    extreme = [-5000.0, 5000.0]
    assert forget_truth_ratio(extreme) == 0
    assert utility_truth_ratio(extreme) == 0.5


def exact_p_value(size: int, statistic: float) -> float:
    """Of all ways to deal 2n ranks to two samples, the share with at least this distance."""
    far = total = 0
    for first in combinations(range(2 * size), size):
        steps = np.where(np.isin(np.arange(2 * size), first), 1, -1).cumsum()
        far += np.abs(steps).max() / size >= statistic - 1e-9
        total += 1
    return far / total


def test_forget_quality_is_the_exact_two_sided_test() -> None:
    retained = np.arange(6.0)
    for shift in (0.0, 0.5, 1.5, 2.5, 5.5):
        found = forget_quality(retained + shift, retained)
        assert found.p_value == pytest.approx(exact_p_value(6, found.statistic))
    assert forget_quality(retained, retained) == (0.0, 1.0)
    assert forget_quality(retained + 9, retained) == forget_quality(retained - 9, retained), "two-sided"
    assert forget_quality(retained + 9, retained).p_value == pytest.approx(2 / math.comb(12, 6))
    assert forget_quality(-retained - 1, -retained) == forget_quality(retained + 1, retained), "R or 1/R alike"


def test_forget_quality_of_published_size() -> None:
    """400 rows each, nothing in common: 2 / C(800, 400), the 1e-239 that gradient ascent is reported with."""
    far = forget_quality(np.arange(400.0) + 1e6, np.arange(400.0))
    assert far.statistic == 1
    assert 0 < far.p_value < 1e-230


def test_rounding_makes_no_difference_between_equal_ratios() -> None:
    """0.1 + 0.2 and 0.3 are one rank, not two."""
    assert forget_quality([0.1 + 0.2] * 4, [0.3] * 4) == (0.0, 1.0)


def test_what_forget_quality_refuses() -> None:
    for bad in ([], [math.nan], [[1.0]]):
        with pytest.raises(ValueError, match="log truth ratios"):
            forget_quality(bad, [1.0])
    for right, wrong in (([1.0], [1.0]), ([1.0, 2.0], [[1.0]]), ([1.0], [[]])):
        with pytest.raises(ValueError, match="expected nlls of shape"):
            log_truth_ratios(right, wrong)


def test_model_utility() -> None:
    nine = [0.99, 0.98, 0.47, 0.45, 0.93, 0.59, 0.43, 0.88, 0.55]
    assert model_utility(nine) == pytest.approx(hmean(nine))
    assert model_utility([*nine[:8], 0.0]) == 0
    assert model_utility([1.0] * 9) == 1
    assert len(UTILITY_PARTS) == 9
    for bad in (nine[:8], [*nine[:8], 1.1], [*nine[:8], math.nan]):
        with pytest.raises(ValueError, match="9 numbers"):
            model_utility(bad)


def test_rouge_l_recall_is_stemmed_and_in_order() -> None:
    """Stems of the answer: the, author, write, novel (short words are not stemmed); order counts."""
    answer = "The authors write novels"
    assert rouge_l_recalls([answer, "the AUTHOR wrote a novel!", "novels write authors", ""], [answer] * 4) == [
        1,
        0.75,
        0.25,
        0,
    ]
    assert rouge_l_recalls(["она пишет"], ["она пишет"]) == [0], "no ASCII word, no recall: as published"
    assert rouge_l_recalls(["yes", "no"], ["", "no"]) == [0, 1]
