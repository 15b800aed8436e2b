"""Losses against the vectors, at extremes, and against each other."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from preflow.losses.dpo import dpo
from preflow.losses.likelihood import nll
from preflow.losses.logps import accuracy, implicit_rewards, margin
from preflow.losses.rso import hinge_norm, sigmoid_norm

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "losses.json").read_text())
# The vectors' names for our functions and arguments, once.
FUNCTIONS = {"dpo": dpo, "cdpo": dpo, "rso_sigmoid_norm": sigmoid_norm, "rso_hinge_norm": hinge_norm}
ARGUMENTS = {"gamma": "beta", "label_smoothing": "label_smoothing", "beta": "beta"}
SIDES = ("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")


def call(case: dict[str, Any], dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    inputs = [torch.tensor(case["inputs"][side], dtype=dtype, requires_grad=True) for side in SIDES]
    arguments = {ARGUMENTS[name]: value for name, value in case["params"].items()}
    return FUNCTIONS[case["method"]](*inputs, **arguments), inputs


@pytest.mark.parametrize("case", VECTORS["losses"], ids=lambda case: case["id"])
def test_vectors(case: dict[str, Any]) -> None:
    losses, inputs = call(case, torch.float64)
    expected = case["expected"]
    torch.testing.assert_close(losses, torch.tensor(expected["losses"], dtype=torch.float64), rtol=1e-10, atol=1e-12)
    losses.sum().backward()
    for side, place in (("chosen", 0), ("rejected", 1)):
        wanted = torch.tensor(expected[f"grad_{side}"], dtype=torch.float64)
        torch.testing.assert_close(inputs[place].grad, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", VECTORS["losses"], ids=lambda case: case["id"])
def test_vectors_in_float32(case: dict[str, Any]) -> None:
    if "float64" in case.get("note", ""):
        pytest.skip("the vector's note says float64 only")
    losses, _ = call(case, torch.float32)
    torch.testing.assert_close(losses, torch.tensor(case["expected"]["losses"]), rtol=2e-5, atol=1e-6)


LOSSES = [dpo, sigmoid_norm, hinge_norm]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("size", [100.0, 1000.0, 1e6])
def test_finite_at_extremes(loss: Any, size: float) -> None:
    policy = torch.tensor([-size, -1.0], requires_grad=True)
    values = loss(policy, policy.detach().flip(0), torch.zeros(2), torch.zeros(2))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(policy.grad).all()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_wrong_shapes_raise(loss: Any) -> None:
    three, other = torch.zeros(3), torch.zeros(3, 1)
    with pytest.raises(ValueError, match="one shape"):
        loss(three, three, three, other)
    with pytest.raises(ValueError, match="one shape"):
        loss(torch.zeros(()), three, three, three)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_rows_are_independent_and_sides_opposed(loss: Any) -> None:
    torch.manual_seed(0)
    sides = [torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    reference = [torch.randn(6, dtype=torch.float64) for _ in range(2)]
    order = torch.randperm(6)
    values = loss(*sides, *reference)
    permuted = loss(*(side[order] for side in sides), *(side[order] for side in reference))
    torch.testing.assert_close(values[order], permuted)
    values.sum().backward()
    torch.testing.assert_close(sides[0].grad, -sides[1].grad)
    assert (sides[0].grad <= 0).all(), "a higher chosen log-prob must not raise the loss"


def test_neighbours() -> None:
    torch.manual_seed(1)
    sides = [torch.randn(5) for _ in range(4)]
    torch.testing.assert_close(dpo(*sides, beta=0.3), sigmoid_norm(*sides, beta=0.3))
    torch.testing.assert_close(dpo(*sides, beta=0.3, label_smoothing=1e-12), dpo(*sides, beta=0.3))


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
