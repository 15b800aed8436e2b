"""Adapters for functions, closed forms, reference points and the pieces of reinforcement learning."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from losses.closed_forms import kl_optimal_policy, psi_rewards
from preflow.losses.advantages import (
    generalized_advantages,
    group_normalised,
    kl_estimates,
    leave_one_out,
    shaped_rewards,
    whitened,
)
from preflow.losses.bco import class_means, running_mean
from preflow.losses.gpo import FUNCTIONS
from preflow.losses.ipo import ipo
from preflow.losses.kto import reference_point
from preflow.losses.likelihood import nll_per_token
from preflow.losses.logps import implicit_rewards, log_ratios
from preflow.losses.nash_md import nash_md, nash_md_tokens
from preflow.losses.policy_gradient import clipped_surrogate, is_clipped, ratios_to_sampler
from preflow.losses.value import clipped_value
from preflow.models.packing import PromptGroup, pack
from preflow.models.sequence_logps import _ChunkedLogps
from preflow.selection.games import kl_divergence
from preflow.selection.imbalance import UPPER_CURRENT, UPPER_VERSION_1, weight_intervals
from preflow.training.mismatched import partners

Content = dict[str, Any]


def close(found: Any, wanted: Any, what: str = "", rtol: float = 1e-9) -> None:
    values = found.detach() if isinstance(found, Tensor) else found
    np.testing.assert_allclose(np.asarray(values), np.asarray(wanted), rtol=rtol, atol=1e-12, err_msg=what)


def column(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def check(found: Mapping[str, Any], expected: Content, rtol: float = 1e-9) -> None:
    for name, wanted in expected.items():
        close(found[name], wanted, name, rtol)


def derivatives(function: Callable[[Tensor], Tensor], x: float) -> tuple[float, float, float]:
    """f, f', f'' at x."""
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = function(leaf)
    (first,) = torch.autograd.grad(value, leaf, create_graph=True)
    second = torch.autograd.grad(first, leaf)[0].item() if first.requires_grad else 0.0
    return value.item(), first.item(), second


def gpo_functions(content: Content) -> None:
    function = FUNCTIONS[content["f"]]
    known = {"f", "rows", "at_zero", "convex_everywhere", "kink_at", "subgradient_interval_at_kink", "note"}
    assert set(content) <= known
    bends = []
    for row in content["rows"]:
        value, slope, bend = derivatives(function, row["x"])
        bends.append(bend)
        close(value, row["f"], "f", 1e-10)
        if row["x"] == content.get("kink_at"):
            low, high = content["subgradient_interval_at_kink"]
            assert low <= slope <= high
        else:
            close(slope, row["df"], "df", 1e-10)
            close(bend, row["d2f"], "d2f", 1e-10)
    value, slope, bend = derivatives(function, 0.0)
    at_zero = {"f": value, "df": slope, "d2f": bend, "regularisation_ratio_abs_d2f_over_df": abs(bend / slope)}
    check(at_zero, content["at_zero"])
    assert content["convex_everywhere"] == (min(bends) > -1e-15)


def gpo_population_minimisers(content: Content) -> None:
    """The risk p f(x) + (1 - p) f(-x) has the file's value at x*, a slope of 0 (or a change of its sign), and is above
    it on both sides."""
    function = FUNCTIONS[content["f"]]
    for row in content["rows"]:
        p, best = row["p"], row["x_star"]

        def risk(x: Tensor, p: float = p) -> Tensor:
            return p * function(x) + (1 - p) * function(-x)

        close(risk(column(best)), row["value"], "value", 1e-10)
        for step in (1e-3, 1e-2):
            assert min(risk(column(best - step)), risk(column(best + step))) > risk(column(best))
        slopes = [derivatives(risk, best + step)[1] for step in (-1e-6, 1e-6)]
        assert slopes[0] < 0 < slopes[1]


def kl_optimal(content: Content) -> None:
    reward, reference = np.array(content["reward"]), np.array(content["pi_ref"])
    best = kl_optimal_policy(reference, reward, content["beta"])
    close(best, content["pi_star"])
    close(best @ reward - content["beta"] * kl_divergence(best, reference), content["objective"])
    seen = best > 1e-300
    implicit = implicit_rewards(column(np.log(best[seen])), column(np.log(reference[seen])), content["beta"])
    gained = reward[seen] - reward[seen][0]
    close(implicit - implicit[0], gained, "implicit rewards differ by what the rewards differ by")


def psipo(content: Content) -> None:
    tau, behaviour = content["tau"], np.array(content["mu"])
    g = psi_rewards(content["P"], content["mu"], content["psi"])
    best = kl_optimal_policy(content["pi_ref"], g, tau)
    ratios = np.log(best) - np.log(np.array(content["pi_ref"]))
    h = ratios[:, None] - ratios[None, :]
    weights = np.outer(behaviour, behaviour)
    wins = psi_rewards(content["P"], content["mu"], "identity")
    target = (wins[:, None] - wins[None, :]) / tau
    found = {
        "g": g,
        "pi_star": best,
        "h_star_i_j": h,
        "loss_eq13_at_pi_star": (weights * (h - target) ** 2).sum(),
        "loss_eq16_at_pi_star": (weights * expected_ipo(h, np.array(content["P"]), tau)).sum(),
    }
    check(found, content["expected"])


def expected_ipo(h: Any, preferences: Any, tau: float) -> Any:
    """E over I ~ Bernoulli(P) of (h - I / tau)^2: a win is our loss at tau / 2, a draw of 0 a target margin of 0."""
    margins, zero = column(h.ravel()), torch.zeros(h.size, dtype=torch.float64)
    ones = zero + 1
    won = ipo(margins, zero, zero, zero, ones, ones, tau=tau / 2, length_normalization="sum").numpy()
    return preferences * won.reshape(h.shape) + (1 - preferences) * h**2


def bco_delta(content: Content) -> None:
    state: dict[str, float] = {}
    for batch, wanted in zip(content["batches_[chosen_rewards,rejected_rewards]"], content["expected"], strict=True):
        chosen, rejected = (column(side) for side in batch)
        state = running_mean(state, torch.cat([chosen, rejected]))
        found = {
            "running_mean_all_rewards": state["reward_mean"],
            "batch_half_sum_of_class_means": class_means(chosen, rejected),
        }
        check(found, wanted)


def nash_md_surrogates(content: Content) -> None:
    policy = column(content["policy_token_logps"]).requires_grad_()
    reference, preferences = column(content["ref_token_logps"]), column(content["p_policy_beats_mixture"])
    tokens = nash_md_tokens(policy, reference, preferences, beta=content["beta"])
    sequences = nash_md(policy.sum(1), reference.sum(1), preferences, beta=content["beta"])
    found: Content = {}
    for name, losses in (("trl", tokens), ("sequence", sequences)):
        found[f"{name}_mean"] = losses.mean()
        found[f"{name}_grad_of_mean_wrt_token_logps"] = torch.autograd.grad(losses.mean(), policy, retain_graph=True)[0]
    check(found | {"trl_token_level_losses": tokens, "sequence_level_losses": sequences}, content["expected"])


def kto_kl(content: Content) -> None:
    """Ours is the paper's pairing; TRL's is the same circle the other way round, the old one's a reversal."""
    policy, reference = column(content["policy_logps_x_i_y_j"]), column(content["ref_logps_x_i_y_j"])
    rows = np.arange(len(policy))
    ours = [[int(i), int(j)] for i, j in zip(rows, partners(rows, rows), strict=True)]
    reversal = [[int(i), int(len(rows) - 1 - i)] for i in rows]
    pairings = {
        "reversal_old_trl": reversal,
        "paper_halos": ours,
        "trl": sorted([j, i] for i, j in ours),
    }
    for name, wanted in content["expected"].items():
        if name == "reversal_has_matched_pairs":
            matched = [i for i, j in reversal if i == j]
            assert wanted in (matched, [[i, i] for i in matched])
        elif name.startswith("pairing_"):
            assert wanted == pairings[name.removeprefix("pairing_")]
        else:
            pairing = next(pairs for which, pairs in pairings.items() if name.endswith(which))
            first, second = torch.tensor(pairing).T
            matched = policy[first, second], reference[first, second]
            point = reference_point(*matched) if name.startswith("z0_") else log_ratios(*matched).mean()
            close(point, wanted, name)


def kto_weights(content: Content) -> None:
    counts = content["n_D"], content["n_U"]
    if content["expected"] == {"note_undefined": True}:
        with pytest.raises(ValueError, match="at least one of each"):
            weight_intervals(*counts)
        return
    rules = {"v1_TRL_[1,4/3]": UPPER_VERSION_1, "final_[1,3/2]": UPPER_CURRENT}
    for fixed, wanted in content["expected"].items():
        kind, letter = {
            "lambda_U_fixed_1": ("desirable_weight", "D"),
            "lambda_D_fixed_1": ("undesirable_weight", "U"),
        }[fixed]
        for name, interval in wanted.items():
            upper = rules[name.removeprefix(f"lambda_{letter}_interval_")]
            close(getattr(weight_intervals(*counts, upper), kind), interval, name)


def token_logps(content: Content) -> None:
    """The head's input is the logits row itself, its weight the identity: what remains is gather and log-softmax."""
    logits, ids, mask = column(content["logits"]), content["input_ids"], content["completion_mask"]
    first, last = mask.index(1), len(mask) - mask[::-1].index(1)
    assert mask[first:last] == [1] * content["completion_tokens"]

    def packed_logps(start: int, end: int) -> Tensor:
        packed = pack([PromptGroup(ids[:start], (ids[start:end],), (0,))])
        hidden = logits[None][packed.rows, packed.columns]
        return _ChunkedLogps.apply(hidden, torch.eye(logits.shape[1], dtype=torch.float64), None, packed.targets, 1)

    close(packed_logps(1, len(ids)), content["token_logps_positions_1_to_4"], rtol=1e-10)
    found = packed_logps(first, last)
    close(found.sum(), content["sum_logp"], rtol=1e-10)
    tokens = column([float(content["completion_tokens"])])
    close(-nll_per_token(found.sum()[None], tokens)[0], content["mean_logp"], rtol=1e-10)


# One piece of reinforcement learning per shape of inputs; the vectors spell some names in several ways.
RL_NAMES = {
    "lam": "lam",
    "logps_new": "logps",
    "new_logps": "logps",
    "logps_old": "old_logps",
    "logp_new": "logps",
    "logp_old": "old_logps",
    "cliprange": "epsilon",
    "clip": "epsilon",
    "clip_eps": "epsilon",
    "eps": "epsilon",
    "clip_range": "epsilon",
    "cliprange_value": "epsilon",
    "eps_std": "epsilon",
    "ddof": "correction",
    "values_old": "old_values",
}


def rl(content: Content) -> None:
    given = {RL_NAMES.get(name, name): value for name, value in content["inputs"].items()}
    pieces: dict[str, Callable[..., Content]] = {
        "score": shaped,
        "lam": gae,
        "old_values": value_clip,
        "old_logps": policy_clip,
        "ratio": clip_of_ratio,
        "rewards": grpo if content["id"].startswith("grpo") else rloo,
        "advantages": whitening,
    }
    piece = next(piece for name, piece in pieces.items() if name in given)
    check(piece(**given), content["expected"], 1e-10)


def shaped(logps: list[float], ref_logps: list[float], score: float, beta: float) -> Content:
    policy, reference = column([logps]), column([ref_logps])
    rewards = shaped_rewards(policy, reference, column([score]), torch.ones_like(policy).bool(), beta=beta)[0]
    kls = {f"k{number}_sum": each.sum() for number, each in enumerate(kl_estimates(policy, reference), 1)}
    return {"token_rewards": rewards, "sum": rewards.sum(), **kls}


def gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> Content:
    mask = torch.ones(1, len(rewards), dtype=torch.bool)
    advantages, returns = generalized_advantages(column([rewards]), column([values]), mask, gamma=gamma, lam=lam)
    return {"advantages": advantages[0], "returns": returns[0]}


def value_clip(values: list[float], old_values: list[float], returns: list[float], epsilon: float) -> Content:
    losses = clipped_value(column(values), column(old_values), column(returns), epsilon=epsilon)
    return {"losses": losses, "mean": losses.mean()}


def whitening(advantages: list[float]) -> Content:
    found = whitened(column(advantages), torch.ones(len(advantages), dtype=torch.bool))
    return {"whitened": found, "advantages": found}


def policy_clip(logps: list[float], old_logps: list[float], advantages: list[float], epsilon: float = 0.2) -> Content:
    policy, old, gains = column(logps).requires_grad_(), column(old_logps), column(advantages)
    losses = clipped_surrogate(policy, old, gains, epsilon=epsilon)
    each = torch.autograd.grad(losses.sum(), policy, retain_graph=True)[0]
    mean = torch.autograd.grad(losses.mean(), policy)[0]
    ratios, clipped = ratios_to_sampler(policy, old), is_clipped(policy, old, gains, epsilon=epsilon).double()
    found: Content = dict.fromkeys(("ratio", "ratios"), ratios) | {"losses": losses, "mean": losses.mean()}
    found |= dict.fromkeys(("grad_logps", "grad_logps_new", "grad_new_logps", "grad_logp_new"), each)
    found |= dict.fromkeys(("grad_mean_logps", "grad_mean", "grad_mean_logps_new"), mean)
    return found | dict.fromkeys(("clip_fraction", "clipfrac", "clip_frac"), clipped.mean())


def clip_of_ratio(ratio: list[float], advantages: list[float], epsilon: float = 0.2) -> Content:
    return policy_clip(np.log(ratio).tolist(), [0.0] * len(ratio), advantages, epsilon)


def rloo(rewards: list[float], kl_sums: list[float] | None = None, beta: float = 0.0) -> Content:
    penalty = beta * column(kl_sums) if kl_sums else 0.0
    return {"advantages": leave_one_out(column(rewards) - penalty)}


def grpo(rewards: list[float], epsilon: float = 1e-4, correction: int = 1) -> Content:
    return {"advantages": group_normalised(column(rewards), epsilon=epsilon, correction=correction)}


LAWS: dict[str, Callable[[Content], None]] = {
    "gpo_functions": gpo_functions,
    "gpo_population_minimisers": gpo_population_minimisers,
    "rl": rl,
    "kl_optimal_policy": kl_optimal,
    "sequence_logps": token_logps,
    "psipo_closed_form": psipo,
    "bco_delta": bco_delta,
    "nash_md_surrogate": nash_md_surrogates,
    "kto_kl": kto_kl,
    "kto_weights": kto_weights,
}
