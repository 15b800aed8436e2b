"""What holds for every loss: one finite number per example, shapes that are checked, no dependence on the order."""

import doctest
import importlib
import pkgutil
from typing import Any

import pytest
import torch

import preflow.losses
from loss_inputs import ALL, Loss, find, is_trained, losses_of, make_inputs, parameters
from preflow.losses.coupled import Coupled
from preflow.losses.dpo import dpo
from preflow.losses.gpo import FUNCTIONS, gpo
from preflow.losses.likelihood import nll
from preflow.losses.logps import accuracy, bounded_exp, implicit_rewards, logistic, margin
from preflow.losses.orpo import log_odds
from preflow.settings.loss import LOSSES

every_loss = pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.__name__)
COUPLED = {find(model.function) for model in LOSSES if model.coupled}


@pytest.mark.parametrize("name", [each.name for each in pkgutil.iter_modules(preflow.losses.__path__)])
def test_examples_in_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"preflow.losses.{name}"))
    assert not found.failed


def finite(loss: Loss, inputs: dict[str, Any], **arguments: Any) -> None:
    found = loss(**inputs, **arguments)
    values = losses_of(found)
    assert torch.isfinite(values).all(), values
    (
        values.sum() if not isinstance(found, Coupled) or found.weights is None else (found.weights * values).sum()
    ).backward()
    for name, each in inputs.items():
        if is_trained(name) and each.grad is not None:
            assert torch.isfinite(each.grad).all(), name


@every_loss
@pytest.mark.parametrize("size", [0.0, 1e-6, 100.0, 1000.0, 1e6])
def test_finite_at_extremes(loss: Loss, size: float) -> None:
    for seed in range(3):
        finite(loss, make_inputs(loss, size=8, scale=size, dtype=torch.float32, seed=seed))


@every_loss
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_finite_where_all_goes_one_way(loss: Loss, sign: float) -> None:
    """The policy's chosen (or any) log-prob a million nats away from its reference, in both directions."""
    inputs = make_inputs(loss, size=3, scale=0.0, dtype=torch.float32)
    for name in inputs:
        if name.startswith(("policy_chosen", "policy_completion", "policy_self", "policy_forget", "chosen_rewards")):
            with torch.no_grad():
                inputs[name] += sign * 1e6
    finite(loss, inputs)


@pytest.mark.parametrize("f", FUNCTIONS)
def test_every_function_of_gpo_is_finite(f: str) -> None:
    for seed in range(3):
        finite(gpo, make_inputs(gpo, scale=1e6, dtype=torch.float32, seed=seed), f=f)


@every_loss
def test_one_number_per_example(loss: Loss) -> None:
    found = loss(**make_inputs(loss, size=5))
    assert loss in COUPLED or not isinstance(found, Coupled)
    assert losses_of(found).shape == (5,)
    if isinstance(found, Coupled):
        assert found.weights is None or found.weights.shape == (5,)
        assert all(isinstance(value, float) for value in (*found.state.values(), *found.metrics.values()))


@every_loss
def test_wrong_shapes_raise(loss: Loss) -> None:
    names = [name for name in parameters(loss) if name != "state"]
    for name in names:
        inputs = make_inputs(loss, size=3)
        inputs[name] = inputs[name].detach().unsqueeze(-1)
        if len(names) > 1 or inputs[name].ndim > 1:
            with pytest.raises(ValueError, match=r"one shape|expected rewards"):
                loss(**inputs)


@every_loss
def test_no_dependence_on_the_order(loss: Loss) -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    inputs = make_inputs(loss)
    permuted = {name: each if name == "state" else each[order] for name, each in inputs.items()}
    torch.testing.assert_close(losses_of(loss(**inputs))[order], losses_of(loss(**permuted)))


@every_loss
def test_rows_of_a_separable_loss_are_independent(loss: Loss) -> None:
    if loss in COUPLED:
        return
    inputs = make_inputs(loss)
    leaves = {name: each for name, each in inputs.items() if is_trained(name)}
    gradients = torch.autograd.grad(loss(**inputs)[2], list(leaves.values()), allow_unused=True)
    for each in gradients:
        assert each is None or (each[torch.arange(len(each)) != 2] == 0).all()


@every_loss
def test_nothing_but_what_is_trained_has_a_gradient(loss: Loss) -> None:
    """References, columns and the sampler are detached, or a loss would train what it must not."""
    inputs = make_inputs(loss)
    for name, each in inputs.items():
        if name.startswith(("policy_mismatched", "sampler_")) or name in ("advantages",):
            each.requires_grad_()
    losses_of(loss(**inputs)).sum().backward()
    for name in ("policy_mismatched_logps", "advantages", "sampler_completion_logps"):
        assert name not in inputs or inputs[name].grad is None or not inputs[name].grad.any()


MONOTONE = ["dpo", "sigmoid_norm", "hinge_norm", "hinge", "slic", "cpo", "simpo", "orpo", "dpop", "tdpo", "gpo", "dno"]
MONOTONE += ["robust_dpo", "sigmoid_norm_length", "bradley_terry", "bco_pair", "aot_paired", "aot_unpaired", "apo_zero"]


@pytest.mark.parametrize("loss", [each for each in ALL if each.__name__ in MONOTONE], ids=lambda loss: loss.__name__)
def test_a_higher_chosen_one_does_not_raise_the_loss(loss: Loss) -> None:
    inputs = make_inputs(loss)
    if "chosen_scores" in inputs:
        inputs["chosen_scores"] = inputs["rejected_scores"].abs() + 9.0
    losses_of(loss(**inputs)).sum().backward()
    signs = {"chosen": 1, "rejected": -1}
    for name, each in inputs.items():
        side = next((side for side in signs if name in (f"policy_{side}_logps", f"{side}_rewards")), None)
        if side:
            assert (signs[side] * each.grad <= 1e-12).all(), name


def test_smoothing_has_its_minimum_where_the_paper_says() -> None:
    best = torch.log(torch.tensor(9.0, dtype=torch.float64)) / 0.1
    zero = torch.zeros(1, dtype=torch.float64)
    chosen = best.reshape(1).clone().requires_grad_()
    dpo(chosen, zero, zero, zero, beta=0.1, label_smoothing=0.1).sum().backward()
    assert abs(chosen.grad.item()) < 1e-12


def test_margin_rewards_and_accuracy() -> None:
    h = margin(*(torch.tensor([value]) for value in (-2.0, -5.0, -3.0, -4.0)))
    assert h.item() == 2.0
    assert implicit_rewards(torch.tensor([-2.0]), torch.tensor([-3.0]), 0.5).item() == 0.5
    assert accuracy(torch.tensor([1.0, -1.0, 0.0, 5e-5])).tolist() == [1.0, 0.0, 0.5, 0.5]
    assert nll(torch.tensor([-2.0])).item() == 2.0


def test_logistic_keeps_its_digits_beyond_twenty() -> None:
    """torch's softplus gives up there: its slope is 1 and not 1 - 1.2e-9 at 20.5."""
    x = torch.tensor(-20.5, dtype=torch.float64, requires_grad=True)
    value = logistic(x)
    (slope,) = torch.autograd.grad(value, x)
    assert value.item() - 20.5 == pytest.approx(1.2501528e-9, rel=1e-5)
    assert 1 + slope.item() == pytest.approx(1.2501528e-9, rel=1e-5)


def test_exponentials_and_odds_stay_finite() -> None:
    for dtype in (torch.float32, torch.float64):
        assert bounded_exp(torch.tensor([1e6, 1.0], dtype=dtype)).isfinite().all()
        logps = torch.tensor([0.0, 1e-7, -1e-12, -0.693, -0.694, -1e6], dtype=dtype, requires_grad=True)
        odds = log_odds(logps)
        odds.sum().backward()
        assert odds.isfinite().all() and logps.grad.isfinite().all()
        torch.testing.assert_close(odds[2].detach(), torch.tensor(27.631021, dtype=dtype))
