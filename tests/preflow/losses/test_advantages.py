"""Advantages and PPO's pieces beyond their vectors: masks, identities, extremes."""

import pytest
import torch

from preflow.losses.advantages import (
    generalized_advantages,
    group_normalised,
    kl_estimates,
    leave_one_out,
    shaped_rewards,
    whitened,
)
from preflow.losses.policy_gradient import clipped_surrogate, is_clipped, ratios_to_sampler
from preflow.losses.value import clipped_value, explained_variance

torch.manual_seed(0)
MASK = torch.tensor([[True, True, True], [True, False, False]])
REWARDS, VALUES = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)


def test_padding_changes_nothing() -> None:
    padded = generalized_advantages(REWARDS, VALUES, MASK, lam=0.9)
    alone = generalized_advantages(REWARDS[1:, :1], VALUES[1:, :1], MASK[1:, :1], lam=0.9)
    for found, wanted in zip(padded, alone, strict=True):
        torch.testing.assert_close(found[1:, :1], wanted)
        assert not found[~MASK].any()
    garbage = torch.where(MASK, VALUES, torch.nan)
    torch.testing.assert_close(generalized_advantages(REWARDS, garbage, MASK, lam=0.9)[0], padded[0])


def test_lambda_one_is_the_sum_of_rewards_and_zero_the_one_step_error() -> None:
    full, returns = generalized_advantages(REWARDS[:1], VALUES[:1], MASK[:1], lam=1.0)
    torch.testing.assert_close(returns[0], REWARDS[0].flip(0).cumsum(0).flip(0))
    torch.testing.assert_close(full, returns - VALUES[:1])
    short, _ = generalized_advantages(REWARDS[:1], VALUES[:1], MASK[:1], lam=0.0, gamma=0.5)
    after = torch.cat([VALUES[0, 1:], torch.zeros(1, dtype=torch.float64)])
    torch.testing.assert_close(short[0], REWARDS[0] + 0.5 * after - VALUES[0])


def test_scores_stand_at_the_last_token() -> None:
    sampler, reference = -torch.ones(2, 3), -torch.ones(2, 3)
    found = shaped_rewards(sampler, reference, torch.tensor([2.0, -1.0]), MASK)
    assert found.tolist() == [[0.0, 0.0, 2.0], [-1.0, 0.0, 0.0]]


def test_estimators_have_the_mean_of_the_kl() -> None:
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    exact = (p * (p / q).log()).sum()
    k1, _, k3 = kl_estimates(p.log(), q.log())
    torch.testing.assert_close((p * k1).sum(), exact)
    torch.testing.assert_close((p * k3).sum(), exact)
    assert (k3 >= 0).all()
    extreme = kl_estimates(torch.tensor([-1e6, 0.0, -1e-3]), torch.tensor([0.0, -1e6, 0.0]))
    assert all(each.isfinite().all() for each in extreme)


def test_whitening() -> None:
    found = whitened(
        torch.tensor([[5.0, 7.0, 100.0], [9.0, 100.0, 100.0]]),
        torch.tensor([[True, True, False], [True, False, False]]),
    )
    assert found.sum().abs() < 1e-5 and found[found != 0].numel() == 2
    assert whitened(torch.tensor([[3.0]]), torch.tensor([[True]])).tolist() == [[0.0]]


def test_groups() -> None:
    rewards = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]], dtype=torch.float64)
    found = leave_one_out(rewards)
    torch.testing.assert_close(found.sum(1), torch.zeros(2, dtype=torch.float64))
    assert found[0, 0] == 1.0 - 4.0
    assert not group_normalised(rewards)[1].any()
    torch.testing.assert_close(
        group_normalised(rewards, epsilon=1.0, correction=0)[0],
        (rewards[0] - 3.0) / (rewards[0].std(correction=0) + 1.0),
    )
    with pytest.raises(ValueError, match="at least 2"):
        leave_one_out(torch.ones(3, 1))


def test_clip() -> None:
    policy = torch.tensor([-1.0, -1.0, -3.0, -3.0], requires_grad=True)
    sampler, gains = torch.full((4,), -2.0), torch.tensor([1.0, -1.0, 1.0, -1.0])
    (slope,) = torch.autograd.grad(clipped_surrogate(policy, sampler, gains).sum(), policy)
    assert (slope == 0).tolist() == is_clipped(policy, sampler, gains).tolist() == [True, False, False, True]
    assert ratios_to_sampler(torch.tensor([0.0]), torch.tensor([-1e6])).isfinite().all()
    with pytest.raises(ValueError, match="one shape"):
        clipped_surrogate(policy, sampler, gains[:, None])


def test_values() -> None:
    values = torch.tensor([0.9, 5.0], requires_grad=True)
    losses = clipped_value(values, torch.tensor([0.5, 0.0]), torch.tensor([1.0, 0.0]))
    (slope,) = torch.autograd.grad(losses.sum(), values)
    assert slope.tolist() == [0.0, 5.0], "a change beyond the clip that helps has no gradient"
    assert explained_variance(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])) == 0.0
    assert explained_variance(torch.zeros(2), torch.ones(2)) == 0.0
    with pytest.raises(ValueError, match="one shape"):
        clipped_value(values, values, values[:, None])
