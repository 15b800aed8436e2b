"""Adapters for beta-DPO: sequences of batches with given selections, the law of the selection, the number kept."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from preflow.losses.beta_dpo import (
    batch_beta,
    beta_dpo,
    drawn,
    filter_log_weights,
    gumbels,
    kept_count,
    updated_averages,
)
from preflow.losses.logps import logistic

Content = dict[str, Any]
PARAMS = {
    "beta0": "beta",
    "alpha": "alpha",
    "keep_ratio_rho": "keep_ratio",
    "ema_gamma": "momentum",
    "beta_min": "min_beta",
    "gap_scale": "gap_scale",
}
STATE = {"ema_mean": "gap_mean", "ema_std": "gap_std"}


def close(found: Any, wanted: Any, what: str) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-10, atol=1e-12, err_msg=what)


def sequence(content: Content) -> None:
    """Step by step: the pure parts with the file's selection, then the whole loss with draws that make this selection."""
    params = {PARAMS[name]: value for name, value in content["params"].items()}
    state = {STATE[name]: value for name, value in content["initial_state"].items()}
    for step in content["steps"]:
        assert set(step) <= {"gaps", "selected", "n_select", "expected"}
        state = one_step(step, state, params)


def one_step(step: Content, state: dict[str, float], params: dict[str, float]) -> dict[str, float]:
    h = torch.tensor(step["gaps"], dtype=torch.float64, requires_grad=True)
    selected, expected = torch.tensor(step["selected"]), step["expected"]
    gaps = params["gap_scale"] * h.detach()
    new = updated_averages(state, gaps, momentum=params["momentum"])
    log_weights = filter_log_weights(gaps, new["gap_mean"], new["gap_std"])
    strength = batch_beta(
        gaps[selected].mean().item(), new["gap_mean"], **{name: params[name] for name in ("beta", "alpha", "min_beta")}
    )
    losses = logistic(strength * h)
    mask = torch.zeros_like(gaps).index_fill(0, selected, 1.0)
    mean = (mask * losses).sum() / mask.sum()
    (slope,) = torch.autograd.grad(mean, h)
    found = {
        "batch_mean": gaps.mean(),
        "batch_std": gaps.std() if len(gaps) > 1 else 0.0,
        "ema_mean": new["gap_mean"],
        "ema_std": new["gap_std"],
        "weights": log_weights.exp(),
        "A_used": gaps[selected].mean(),
        "beta_used": strength,
        "losses": losses.detach(),
        "mask": mask,
        "loss": mean.detach(),
        "grad_margin": slope,
    }
    assert step["n_select"] == len(step["selected"]) == kept_count(len(gaps), params["keep_ratio"])
    for name, wanted in expected.items():
        if undefined(wanted):
            assert np.isfinite(np.asarray(found[name])).all(), f"{name}: undefined in the official code, never here"
        else:
            close(found[name], wanted, name)
    whole_loss(step, state, params, draws_that_select(log_weights, selected))
    return new


def undefined(wanted: Any) -> bool:
    values = wanted if isinstance(wanted, list) else [wanted]
    return any(value is None or value != value for value in values)


def draws_that_select(log_weights: torch.Tensor, selected: torch.Tensor) -> torch.Tensor:
    """Uniforms whose Gumbel noise puts the selected above all others, where a float64 uniform can."""
    wanted = torch.full_like(log_weights, -3.0).index_fill(0, selected, 3.0)
    return (-(-(wanted - log_weights.clamp(min=-30))).exp()).exp().clamp(max=1 - 1e-16)


def whole_loss(step: Content, state: dict[str, float], params: dict[str, float], draws: torch.Tensor) -> None:
    """The coupled loss gives the file's numbers, wherever its draws make the file's selection."""
    h, expected = torch.tensor(step["gaps"], dtype=torch.float64, requires_grad=True), step["expected"]
    zero = torch.zeros_like(h).detach()
    found = beta_dpo(h, zero, zero, zero, state, draws, **params)
    weights = found.weights
    assert weights is not None and torch.isfinite(found.losses).all() and weights.sum() == step["n_select"]
    close(found.state["gap_mean"], expected["ema_mean"], "state")
    close(found.state["gap_std"], expected["ema_std"], "state")
    if weights.tolist() != expected["mask"]:
        assert min(expected["weights"]) < 1e-15, "only a weight beyond what a uniform can outweigh may be left out"
        return
    mean = (weights * found.losses).sum() / weights.sum()
    (slope,) = torch.autograd.grad(mean, h)
    close(found.losses.detach(), expected["losses"], "losses")
    close(mean.detach(), expected["loss"], "loss")
    close(slope, expected["grad_margin"], "grad_margin")
    close(found.metrics["beta"], expected["beta_used"], "beta_used")


def selection_law(content: Content) -> None:
    """Inclusion probabilities of successive draws: exactly by enumeration, and of our draws by counting."""
    weights = torch.tensor(content["weights"], dtype=torch.float64)
    assert content["gumbel_rule"].endswith("keep the k largest of log(weight)+Gumbel(0,1)")
    example = content["gumbel_example"]
    noise = torch.tensor(example["gumbels"], dtype=torch.float64)
    close(weights.log() + noise, example["keys"], "keys")
    assert drawn(weights.log(), noise, 2).tolist() == example["selected_k2_in_descending_key"]
    for name, count in (("inclusion_probability", content["k"]), ("k2_inclusion_probability", 2)):
        close(successive(content["weights"], count), content[name], name)
        close_to_law(weights.log(), count, content[name])


def successive(weights: list[float], count: int) -> list[float]:
    """P(included), from every order in which `count` could be drawn one after the other."""
    included = [0.0] * len(weights)
    for order in itertools.permutations(range(len(weights)), count):
        left, probability = sum(weights), 1.0
        for each in order:
            probability *= weights[each] / left
            left -= weights[each]
        for each in order:
            included[each] += probability
    return included


def close_to_law(log_weights: torch.Tensor, count: int, wanted: list[float], trials: int = 20_000) -> None:
    generator = torch.Generator().manual_seed(count)
    noise = gumbels(torch.rand(trials, len(log_weights), generator=generator, dtype=torch.float64))
    kept = torch.stack([drawn(log_weights, each, count) for each in noise])
    counts = torch.bincount(kept.flatten(), minlength=len(log_weights))
    law = np.array(wanted)
    error = np.sqrt(law * (1 - law) / trials) + 1e-12
    assert (np.abs(counts.numpy() / trials - law) < 4.5 * error + 1 / trials).all()


def sample_count_rule(content: Content) -> None:
    """The official rule; where it keeps nothing, we keep one pair."""
    assert set(content) == {"n", "filter_ratio", "int(n*(1-q))"}
    wanted = max(1, content["int(n*(1-q))"])
    assert kept_count(content["n"], 1 - content["filter_ratio"]) == wanted


BETA_DPO: dict[str, Callable[[Content], None]] = {
    "beta_dpo.sequences": sequence,
    "beta_dpo.selection_law": selection_law,
    "beta_dpo.sample_count_rule": sample_count_rule,
}
