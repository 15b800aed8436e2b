"""Losses that are one another for some setting."""

from typing import Any

import pytest
import torch

from loss_inputs import losses_of, make_inputs
from preflow.losses import (
    aot,
    bco,
    beta_dpo,
    cpo,
    d2o,
    discopop,
    dno,
    dpo,
    dpop,
    dro,
    gpo,
    ipo,
    kto,
    length_norm,
    nash_md,
    nca,
    npo,
    policy_gradient,
    rebel,
    reward_model,
    rpo,
    rso,
    simpo,
    slic,
    sppo,
    tdpo,
    wpo,
    xpo,
)

SIDES = make_inputs(dpo.dpo, size=7, scale=8.0)
PLAIN = dpo.dpo(**SIDES, beta=0.3)
ONES = torch.ones(7, dtype=torch.float64)
UNIFORM = make_inputs(sppo.sppo, size=7)["chosen_win_rates"]
FREE = {name: each for name, each in SIDES.items() if name.startswith("policy_")}


def same(found: Any, wanted: Any) -> None:
    torch.testing.assert_close(losses_of(found), losses_of(wanted), rtol=1e-10, atol=1e-12)


def test_dpo_under_other_names() -> None:
    same(rso.sigmoid_norm(**SIDES, beta=0.3), PLAIN)
    same(gpo.gpo(**SIDES, beta=0.3, f="logistic"), PLAIN)
    same(dpo.dpo(**SIDES, beta=0.3, label_smoothing=1e-13), PLAIN)
    same(dpo.robust_dpo(**SIDES, beta=0.3, label_smoothing=0.0), PLAIN)
    same(dpop.dpop(**SIDES, beta=0.3, lam=0.0), PLAIN)
    kls = {"chosen_kls": UNIFORM, "rejected_kls": 2 * UNIFORM}
    same(tdpo.tdpo(**SIDES, **kls, beta=0.3, alpha=0.0), PLAIN)
    same(tdpo.tdpo(**SIDES, chosen_kls=UNIFORM, rejected_kls=UNIFORM, beta=0.3, variant=1), PLAIN)
    same(tdpo.tdpo(**SIDES, **kls, beta=0.3, alpha=1.0), tdpo.tdpo(**SIDES, **kls, beta=0.3, variant=1))
    same(length_norm.sigmoid_norm_length(**SIDES, chosen_num_tokens=ONES, rejected_num_tokens=ONES, beta=0.3), PLAIN)
    same(rpo.rpo(**SIDES, chosen_num_tokens=ONES, beta=0.3, alpha=0.0), PLAIN)
    same(xpo.xpo(**SIDES, chosen_is_reference_sample=UNIFORM > 0.5, beta=0.3, alpha=0.0), PLAIN)
    aligned = {"chosen_alignments": UNIFORM, "rejected_alignments": UNIFORM}
    same(wpo.wpo(**SIDES, **aligned, beta=0.3), PLAIN)
    scores = {"chosen_scores": 1000 * ONES, "rejected_scores": 0 * ONES}
    same(dno.dno(**SIDES, **scores, beta=0.3), PLAIN)


def test_dpo_with_self_samples() -> None:
    sample = {"policy_self_sample_logps": SIDES["policy_chosen_logps"][:, None]}
    sample["reference_self_sample_logps"] = SIDES["reference_chosen_logps"][:, None]
    rejected = {name: SIDES[name] for name in ("policy_rejected_logps", "reference_rejected_logps")}
    same(d2o.d2o(**sample, **rejected, alpha=0.3, beta=0.3), PLAIN)


def test_masked_samples_are_not_there() -> None:
    inputs = make_inputs(d2o.d2o)
    some = torch.tensor([True, True, False, True]).expand(6, 4)
    without = {name: each[:, [0, 1, 3]] if "self_sample" in name else each for name, each in inputs.items()}
    same(d2o.d2o_masked(**inputs, self_sample_mask=some), d2o.d2o(**without))
    garbage = {name: each.clone() if "self_sample" in name else each for name, each in inputs.items()}
    garbage["policy_self_sample_logps"][:, 2] = torch.nan
    same(d2o.d2o_masked(**garbage, self_sample_mask=some), d2o.d2o(**without))
    nothing = d2o.d2o_masked(**inputs, self_sample_mask=torch.zeros_like(some), beta=5.0)
    assert nothing.isfinite().all()


def test_d2o_is_below_the_mean_of_its_pairs() -> None:
    """Jensen: the loss of the mean is at most the mean of the losses."""
    inputs = make_inputs(d2o.d2o, size=50, scale=30.0)
    single = [
        d2o.d2o(**{name: each[:, k : k + 1] if "self_sample" in name else each for name, each in inputs.items()})
        for k in range(4)
    ]
    assert (d2o.d2o(**inputs) <= torch.stack(single).mean(0) + 1e-12).all()


def test_beta_dpo_with_everything_kept_and_alpha_zero() -> None:
    found = beta_dpo.beta_dpo(**SIDES, state={}, draws=UNIFORM, beta=0.3, alpha=0.0, keep_ratio=1.0)
    same(found, PLAIN)
    assert found.weights is not None and found.weights.min() == 1


def test_ipo_and_gpo() -> None:
    tokens = {"chosen_num_tokens": ONES, "rejected_num_tokens": ONES}
    lengths = {"chosen_num_tokens": 3 * ONES, "rejected_num_tokens": 5 * ONES}
    summed = ipo.ipo(**SIDES, **lengths, tau=0.15, length_normalization="sum")
    same(gpo.gpo(**SIDES, beta=0.3, f="squared"), 0.3**2 * summed)
    same(ipo.ipo(**SIDES, **tokens, tau=0.15), summed)
    equal = {f"{side}_scores": value * ONES for side, value in (("chosen", 1 / 0.6), ("rejected", 0.0))}
    same(rebel.rebel(**SIDES, **equal, eta=2.0), ipo.ipo(**SIDES, **tokens, tau=0.15) / 4)


def test_hinges() -> None:
    same(gpo.gpo(**SIDES, beta=0.3, f="hinge"), rso.hinge_norm(**SIDES, beta=0.3))
    same(rso.hinge(**FREE, beta=0.25), 0.25 * slic.slic(**FREE, delta=4.0))
    silent = {name: each * 0 if name.startswith("reference_") else each for name, each in SIDES.items()}
    same(rso.hinge_norm(**silent, beta=0.25), rso.hinge(**FREE, beta=0.25))
    same(gpo.gpo(**SIDES, beta=0.3, f="truncated_quadratic"), rso.hinge_norm(**SIDES, beta=0.3).square())


def test_without_a_reference() -> None:
    silent = {name: each * 0 if name.startswith("reference_") else each for name, each in SIDES.items()}
    same(cpo.cpo(**FREE, beta=0.3), dpo.dpo(**silent, beta=0.3))
    same(
        simpo.simpo(**FREE, chosen_num_tokens=ONES, rejected_num_tokens=ONES, beta=0.3, gamma=0.0),
        cpo.cpo(**FREE, beta=0.3),
    )


def test_sppo_family() -> None:
    same(sppo.sppo_hard(**SIDES, beta=0.02), sppo.sppo_pair(**SIDES, preferences=ONES, eta=50.0))
    pair = sppo.sppo_pair(**SIDES, preferences=UNIFORM, eta=50.0)
    same(sppo.sppo(**SIDES, chosen_win_rates=UNIFORM, rejected_win_rates=1 - UNIFORM, eta=50.0), pair / 2)


def test_bco_nca_and_discopop() -> None:
    rewards = [
        0.3 * (SIDES[f"policy_{side}_logps"] - SIDES[f"reference_{side}_logps"]) for side in ("chosen", "rejected")
    ]
    both = bco.bco_at(*rewards, 0.0)
    swapped = bco.bco_at(rewards[0], rewards[0], 0.0)  # -log sigmoid(r_w) - log sigmoid(-r_w)
    same(nca.nca_pair(**SIDES, beta=0.3), 0.5 * both + 0.5 * swapped)
    found = bco.bco_pair(**SIDES, state={}, beta=0.3)
    same(found, bco.bco_at(*rewards, torch.cat(rewards).mean().item()))
    same(bco.bco_pair(**SIDES, state={}, beta=0.3, shift="class_means"), found)
    x = 0.3 * dpo.margin(**SIDES)
    wide = discopop.discopop(**SIDES, beta=0.3, tau=1e12)
    torch.testing.assert_close(wide, 0.5 * PLAIN + 0.5 * (-x).exp())


def test_aot_of_a_single_pair_is_dpo() -> None:
    one = {name: each[:1] for name, each in SIDES.items()}
    same(aot.aot_paired(**one, beta=0.3), PLAIN[:1])
    same(aot.aot_unpaired(**one, beta=0.3), PLAIN[:1])


def test_aot_of_sorted_sides_is_dpo() -> None:
    ordered = {name: each.sort().values for name, each in SIDES.items()}
    ordered |= {name: 0 * each for name, each in SIDES.items() if name.startswith("reference_")}
    same(aot.aot_unpaired(**ordered, beta=0.3), dpo.dpo(**ordered, beta=0.3))


def test_npo_tends_to_gradient_ascent() -> None:
    inputs = make_inputs(npo.npo)
    beta = 1e-6
    ratio = inputs["policy_forget_logps"] - inputs["reference_forget_logps"]
    limit = npo.npo(**inputs, beta=beta) - 2 / beta * torch.log(torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(limit, ratio, rtol=1e-4, atol=1e-4)
    slope = torch.autograd.grad(npo.npo(**inputs, beta=0.7).sum(), inputs["policy_forget_logps"])[0]
    torch.testing.assert_close(npo.npo_weights(**inputs, beta=0.7), slope)


def test_dro_splits_into_the_gradients_of_the_paper() -> None:
    inputs = make_inputs(dro.dro)
    leaves = inputs["policy_completion_logps"], inputs["completion_values"]
    residuals = dro.dro_residuals(**inputs, tau=0.4)
    joint = torch.autograd.grad(dro.dro(**inputs, tau=0.4, rescale=False).sum(), leaves)
    rescaled = torch.autograd.grad(dro.dro(**inputs, tau=0.4).sum(), leaves)
    same(joint[0], -0.4 * residuals)
    for found in (joint[1], rescaled[1], rescaled[0]):
        same(found, -residuals)
    same(dro.dro(**inputs, tau=1.0), 2 * dro.dro(**inputs, tau=1.0, rescale=False))


def test_kto_of_both_labels_cancels() -> None:
    logps = torch.tensor([-3.0, -3.0], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(2, dtype=torch.float64)
    found = kto.kto(logps, zero - 4, torch.tensor([True, False]), zero - 1, zero - 2)
    assert found.metrics == {"reference_point": 1.0, "mismatched_log_ratio": 1.0}
    (slope,) = torch.autograd.grad(found.losses.sum(), logps)
    assert slope.sum().abs() < 1e-15 and slope[0] < 0


def test_policy_gradients_agree_on_policy() -> None:
    logps = torch.tensor([-4.0, -9.0], dtype=torch.float64, requires_grad=True)
    gains = torch.tensor([0.5, -1.5], dtype=torch.float64)
    found = [policy_gradient.reinforce(logps, gains), policy_gradient.ppo_seq(logps, logps.detach(), gains)]
    slopes = [torch.autograd.grad(each.sum(), logps)[0] for each in found]
    same(slopes[0], slopes[1])
    nash = nash_md.nash_md(logps, logps.detach(), gains + 0.5, beta=0.0)
    same(nash, found[0])


def test_ranked_of_two_is_a_pair() -> None:
    rewards = torch.tensor([[2.0, 0.5], [0.0, 1.0]])
    same(reward_model.bradley_terry_ranked(rewards), reward_model.bradley_terry(*rewards.T))
    same(reward_model.ranking(rewards[:, 0] - rewards[:, 1], torch.ones(2)), reward_model.bradley_terry(*rewards.T))
    centred = reward_model.bradley_terry(*rewards.T, center=0.1) - reward_model.bradley_terry(*rewards.T)
    torch.testing.assert_close(centred, 0.1 * rewards.sum(1).square())


def test_rpo_reductions_agree_for_equal_lengths() -> None:
    found = [
        rpo.rpo(**SIDES, chosen_num_tokens=4 * ONES, alpha=0.5, nll_reduction=each).losses.mean()
        for each in ("token_mean", "seq_mean")
    ]
    assert found[0].item() == pytest.approx(found[1].item())
    summed = rpo.rpo(**SIDES, chosen_num_tokens=4 * ONES, alpha=0.5, nll_reduction="sum").losses
    same(summed, dpo.dpo(**SIDES, beta=0.01) - 0.5 * SIDES["policy_chosen_logps"])
