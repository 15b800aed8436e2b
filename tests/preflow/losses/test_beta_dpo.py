"""beta-DPO beyond its vectors: never a NaN, the state of a batch, the law of the draws."""

import pytest
import torch

from loss_inputs import make_inputs
from preflow.losses.beta_dpo import beta_dpo, drawn, filter_log_weights, gumbels, kept_count, updated_averages


def test_the_first_step_draws_uniformly() -> None:
    """Policy and reference agree: no gap, no spread; the official code divides 0 by 0 there."""
    zero, counts = torch.zeros(10), torch.zeros(10)
    for seed in range(200):
        draws = torch.rand(10, generator=torch.Generator().manual_seed(seed))
        found = beta_dpo(zero, zero, zero, zero, {}, draws, keep_ratio=0.5)
        assert found.weights is not None and found.losses.isfinite().all()
        counts += found.weights
    assert counts.sum() == 200 * 5
    assert (counts > 60).all()
    assert found.state == {"gap_mean": 0.0, "gap_std": 0.0} and found.metrics["beta"] == 0.1


def test_a_single_pair_is_kept() -> None:
    one = torch.tensor([-3.0])
    found = beta_dpo(one, one - 1, one, one, {"gap_mean": 0.5, "gap_std": 2.0}, torch.tensor([0.0]))
    assert found.weights is not None and found.weights.tolist() == [1.0]
    assert found.state["gap_std"] == 2.0 and found.state["gap_mean"] == pytest.approx(0.55)
    assert found.losses.isfinite().all()


def test_draws_at_the_ends_of_their_range() -> None:
    noise = gumbels(torch.tensor([0.0, 0.5, 1.0 - 2**-24]))
    assert not noise.isnan().any() and noise[0] < noise[1] < noise[2]


def test_outliers_are_left_out_and_beta_follows_the_gap() -> None:
    gaps = torch.tensor([1.0, 1.1, 0.9, 1.0, 300.0])
    zero, state = torch.zeros(5), {"gap_mean": 1.0, "gap_std": 0.1}
    left_out = 0
    for seed in range(50):
        draws = torch.rand(5, generator=torch.Generator().manual_seed(seed))
        found = beta_dpo(gaps, zero, zero, zero, state, draws, momentum=0.999)
        assert found.weights is not None
        left_out += found.weights[4].item() == 0
    assert left_out == 50
    low = beta_dpo(zero + 2, zero, zero, zero, {"gap_mean": 1.0, "gap_std": 9.0}, zero + 0.5).metrics["beta"]
    high = beta_dpo(zero + 4, zero, zero, zero, {"gap_mean": 1.0, "gap_std": 9.0}, zero + 0.5).metrics["beta"]
    assert 0.1 < low < high


def test_starting_from_the_first_batch() -> None:
    gaps = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert updated_averages({}, gaps, start="first_batch") == {"gap_mean": 2.0, "gap_std": pytest.approx(2**0.5)}
    later = updated_averages({"gap_mean": 0.0, "gap_std": 0.0}, gaps, start="first_batch")
    assert later == updated_averages({}, gaps)
    assert updated_averages({}, gaps[:1], start="first_batch") == {"gap_mean": 1.0, "gap_std": 0.0}


def test_units_change_beta_and_not_the_weights() -> None:
    inputs = make_inputs(beta_dpo, scale=3.0)
    raw, scaled = beta_dpo(**inputs), beta_dpo(**inputs, gap_scale=0.1)
    assert raw.weights is not None and scaled.weights is not None
    assert raw.weights.tolist() == scaled.weights.tolist()
    change = [found.metrics["beta"] - 0.1 for found in (raw, scaled)]
    assert change[0] == pytest.approx(10 * change[1])


def test_the_batch_is_in_the_averages_and_takes_no_gradient_through_beta() -> None:
    h = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(2, dtype=torch.float64)
    found = beta_dpo(h, zero, zero, zero, {}, zero + 0.5, keep_ratio=1.0)
    assert found.state["gap_mean"] == pytest.approx(0.15)
    (slope,) = torch.autograd.grad(found.losses[0], h)
    assert slope[1] == 0


def test_counts_and_huge_gaps() -> None:
    assert [kept_count(n, 0.8) for n in (1, 2, 4, 5, 64)] == [1, 1, 3, 4, 51]
    weights = filter_log_weights(torch.tensor([1e6, -1e6], dtype=torch.float64), 0.0, 1e-7)
    assert weights.isfinite().all() and not drawn(weights, torch.zeros(2), 1).isnan().any()
