"""Means with bootstrap intervals over prompts."""

import math

import numpy as np
import pytest

from preflow.evaluation import statistics
from preflow.evaluation.statistics import Estimate, clustered_error, clustered_mean


def same(one: Estimate, other: Estimate) -> None:
    assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))
    assert one.clusters == other.clusters


def test_one_value_per_cluster_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        estimate = clustered_mean(generator.random(40).tolist(), [f"p{n}" for n in range(40)], 0.9, seed=0)
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 0.5 <= estimate.high
    assert 165 <= covered <= 195  # 90 %; five binomial standard errors wide


def test_copies_of_a_row_in_its_cluster_make_no_interval_narrower() -> None:
    values = np.random.default_rng(2).random(30).tolist()
    clusters = [f"p{n}" for n in range(30)]
    once = clustered_mean(values, clusters, 0.95, seed=3)
    same(clustered_mean(values * 5, clusters * 5, 0.95, seed=3), once)
    independent = clustered_mean(values * 5, [f"{copy}{each}" for copy in range(5) for each in clusters], 0.95, seed=3)
    assert independent.high - independent.low < 0.6 * (once.high - once.low)  # type: ignore[operator]


def test_order_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = [0.1, 0.9, 0.4, 0.7, 0.2], ["a", "b", "a", "c", "d"]
    whole = clustered_mean(values, clusters, 0.95, seed=0)
    same(clustered_mean(values[::-1], clusters[::-1], 0.95, seed=0), whole)
    monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", 40)
    assert clustered_mean(values, clusters, 0.95, seed=0) == whole


def test_weights_count_as_repeated_rows() -> None:
    weighted = clustered_mean([1.0, 0.0, 0.5], ["a", "b", "b"], 0.95, 0, weights=[3.0, 1.0, 2.0])
    repeated = clustered_mean([1.0, 1.0, 1.0, 0.0, 0.5, 0.5], ["a", "a", "a", "b", "b", "b"], 0.95, 0)
    same(weighted, repeated)
    assert weighted.mean == pytest.approx((3 * 1.0 + 0.0 + 2 * 0.5) / 6)


def test_one_cluster_has_no_interval() -> None:
    estimate = clustered_mean([1.0, 0.0], ["a", "a"], 0.95, 0)
    assert estimate.as_numbers("eval/win_rate") == {"eval/win_rate": 0.5}
    assert clustered_error([1.0, 2.0], ["a", "a"]) == (1.5, None)


def test_error_of_independent_values_is_the_textbook_one() -> None:
    values = [1.0, 2.0, 4.0, 7.0]  # mean 3.5, deviations -2.5 -1.5 0.5 3.5: variance 21 / 3 = 7
    assert clustered_error(values, list("abcd")) == (3.5, pytest.approx(math.sqrt(7 / 4)))


def test_error_counts_clusters_not_rows() -> None:
    values = [1.0, 2.0, 4.0, 7.0]
    assert clustered_error(values * 3, list("abcd") * 3) == pytest.approx(clustered_error(values, list("abcd")))
