"""Weights for rare labels."""

import pytest

from preflow.selection.imbalance import UPPER_CURRENT, weight_intervals, weights_fit


def test_the_paper_s_example() -> None:
    """1:10 gives lambda_D in [10, 13.33] by version 1 and [10, 15] by the current one."""
    assert weight_intervals(100, 1000).desirable_weight == pytest.approx((10, 13.3333333))
    assert weight_intervals(100, 1000, UPPER_CURRENT).desirable_weight == pytest.approx((10, 15))


def test_both_forms_of_the_rule_agree() -> None:
    found = weight_intervals(30, 70)
    assert weights_fit(30, 70, desirable_weight=found.desirable_weight[0] + 1e-9)
    assert weights_fit(30, 70, undesirable_weight=found.undesirable_weight[1] - 1e-9)
    assert not weights_fit(30, 70, undesirable_weight=found.undesirable_weight[1] + 1e-3)


def test_a_missing_kind_is_refused() -> None:
    for counts in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="at least one of each"):
            weight_intervals(*counts)
