"""Adapters from the vectors' names to ours, for selection, win rates and unlearning metrics: kind -> function(case).

An adapter renames, calls and compares; a key of `expected` that it does not know fails.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from preflow.evaluation import unlearning
from preflow.losses.dpo import dpo
from preflow.selection import games, targets
from preflow.selection.history import history_counts
from preflow.selection.pairing import dno_pairs, first_round
from preflow.selection.pointwise import order_average, pointwise_reward
from preflow.selection.queue import WinRateQueue
from preflow.selection.rejection import statistical_rejection_sample
from preflow.selection.stages import source_accuracies, sources_easy_to_hard
from preflow.selection.tournament import Tournament, tournament
from preflow.selection.win_rates import (
    pairrm_preferences,
    pairrm_scores,
    preference_matrix,
    win_rates,
    winner_loser,
)

Case = dict[str, Any]


def close(found: Any, wanted: Any, what: str = "") -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-9, atol=1e-12, err_msg=what)


def temperature(case: Case) -> float:
    return math.inf if case["beta"] == "inf" else case["beta"]


def srs(case: Case) -> None:
    found = statistical_rejection_sample(
        case["rewards"], case["num_samples"], temperature(case), iter(case["uniforms"])
    )
    names = {
        "accepted_indices_in_order": list(found.indices),
        "round_of_each_acceptance": list(found.rounds),
        "uniforms_consumed": found.uniforms_consumed,
        "pool_exhausted": found.pool_exhausted,
    }
    for name, wanted in case["expected"].items():
        assert names[name] == wanted, name


class _Undecided(Exception):
    """The sampler asks for one uniform more than the script has."""


class _Decision(float):
    """A uniform that accepts or rejects by script, and learns the weight that it is compared with."""

    accepts: bool
    weight: float

    def __ge__(self, weight: float) -> bool:
        self.weight = weight
        return not self.accepts


def _law(case: Case, script: tuple[bool, ...] = ()) -> Iterator[tuple[tuple[int, ...], float]]:
    """(accepted, probability) for every way the sampler can go, by taking both branches at every candidate visited."""
    decisions: list[_Decision] = []

    def uniforms() -> Iterator[float]:
        for accepts in script:
            decisions.append(_Decision())
            decisions[-1].accepts = accepts
            yield decisions[-1]
        raise _Undecided

    try:
        found = statistical_rejection_sample(case["rewards"], case["num_samples"], temperature(case), uniforms())
    except _Undecided:
        if all(one.accepts or one.weight < 1 for one in decisions):
            yield from _law(case, (*script, True))
            yield from _law(case, (*script, False))
        return
    yield found.indices, math.prod(one.weight if one.accepts else 1 - one.weight for one in decisions)


def srs_exact_law(case: Case) -> None:
    law: dict[tuple[int, ...], float] = {}
    for accepted, probability in _law(case):
        law[accepted] = law.get(accepted, 0.0) + probability
    wanted = {tuple(each["accepted"]): each["prob"] for each in case["ordered_outcomes"]}
    assert {outcome for outcome, probability in law.items() if probability > 1e-12} <= set(wanted)
    for outcome, probability in wanted.items():
        close(law.get(outcome, 0.0), probability, str(outcome))
    included = [sum(p for outcome, p in law.items() if index in outcome) for index in range(len(case["rewards"]))]
    close(included, case["inclusion_probability"])


def srs_distribution(case: Case) -> None:
    """The first round of many independent candidates, against the law (chi-square) and the rate (binomial)."""
    expected, size = case["expected"], 20_000
    generator = np.random.default_rng(0)
    outcomes = generator.choice(len(case["pi_sft"]), size=size, p=case["pi_sft"])
    scores = np.array(case["rewards"])[outcomes]

    def uniforms() -> Iterator[float]:
        yield from generator.random(size)
        while True:
            yield 0.0  # the later rounds are of no interest: take all

    found = statistical_rejection_sample(scores.tolist(), size, temperature(case), uniforms())
    first = np.array([index for index, turn in zip(found.indices, found.rounds, strict=True) if turn == 0])
    wanted = np.array(expected["accepted_distribution"])
    counts = np.bincount(outcomes[first], minlength=len(wanted))
    rare = wanted * len(first) < 5
    cells = [np.append(each[~rare], each[rare].sum()) for each in (counts, wanted * len(first))]
    observed, law = (each[cells[1] > 0] for each in cells)
    assert ((observed - law) ** 2 / law).sum() < chi2.ppf(0.9999, max(1, len(law) - 1))
    rate = expected["acceptance_rate"]
    assert abs(len(first) / size - rate) < 4 * math.sqrt(rate * (1 - rate) / size)
    close_to(scores[first], expected["mean_reward_accepted"])
    close_to(scores, expected["mean_reward_sft"])


def close_to(sample: np.ndarray, mean: float) -> None:
    assert abs(sample.mean() - mean) < 4.5 * sample.std() / math.sqrt(len(sample)) + 1e-9


def pair_building(case: Case) -> None:
    scores, order = case["scores"], case["order"]
    names: dict[str, Callable[[], Any]] = {
        "first_round_pairs_chosen_rejected": lambda: [list(pair) for pair in first_round(scores, order)],
        "tournament_pairs_chosen_rejected": lambda: [list(pair) for pair in tournament(scores, order)],
        "winner": lambda: _winner(scores, order),
    }
    for name in set(case) - {"id", "scores", "order", "note"}:
        assert names[name]() == case[name], name


def _winner(scores: list[float], order: list[int]) -> int:
    cup = Tournament(order)
    while cup.matches:
        cup.play([scores[first] >= scores[second] for first, second in cup.matches])
    return cup.winner


def pairwise_reward_to_pointwise(case: Case) -> None:
    close([pointwise_reward(rho) for rho in case["rho_y_over_baseline"]], case["reward"])
    swap = case["swap_example"]
    averaged = order_average(swap["rho_ab"], swap["rho_ba"])
    close(averaged, swap["averaged"])
    close(pointwise_reward(averaged), swap["reward"])


def sdpo(case: Case) -> None:
    """The partition, and the first loss of a stage: ln 2 where policy and reference start equal."""
    partition, start = case["partition"], case["stage_initial_loss"]
    gammas = partition["gamma_of_initial_model_per_source"]
    assert source_accuracies(gammas) == pytest.approx(partition["reward_accuracy"])
    assert sources_easy_to_hard(gammas) == partition["stage_order_easy_to_hard"]
    example = start["example_target_S_reference_M1"]
    close(_first_loss(example["beta"], example["gamma_M1"], example["gamma_M1"]), start["target_init_eq_reference"])
    close(_first_loss(example["beta"], example["gamma_S"], example["gamma_M1"]), example["loss"])


def _first_loss(beta: float, policy_gamma: float, reference_gamma: float) -> float:
    zero = torch.zeros(1, dtype=torch.float64)
    return dpo(zero + policy_gamma, zero, zero + reference_gamma, zero, beta=beta).item()


def tofu_metrics(case: Case) -> None:
    given = case["inputs"]
    sides = {}
    for side, name in (("unlearned", "unlearned"), ("retain", "retain_model")):
        nlls = given[f"{name}_avg_nll_paraphrased"], given[f"{name}_avg_nll_perturbed"]
        sides[side] = {mean: unlearning.log_truth_ratios(*nlls, mean=mean) for mean in ("geometric", "arithmetic")}
    ratios = {mean: np.exp(each) for mean, each in sides["unlearned"].items()}
    quality = {m: unlearning.forget_quality(sides["unlearned"][m], sides["retain"][m]) for m in sides["unlearned"]}
    names = {
        "truth_ratio_geometric_code (perturbed/paraphrased)": ratios["geometric"],
        "truth_ratio_arithmetic_paper (perturbed/paraphrased)": ratios["arithmetic"],
        "truth_ratio_geometric_retain_model": np.exp(sides["retain"]["geometric"]),
        "truth_ratio_arithmetic_retain_model": np.exp(sides["retain"]["arithmetic"]),
    }
    for mean, found in sides["unlearned"].items():
        names[f"forget_truth_ratio_agg = mean(min(R,1/R)) {mean}"] = unlearning.forget_truth_ratio(found)
        names[f"utility_truth_ratio_agg = mean(max(0,1-R)) {mean}"] = unlearning.utility_truth_ratio(found)
        names[f"ks_statistic_{mean}"] = quality[mean].statistic
        names[f"ks_pvalue_exact_{mean}"] = quality[mean].p_value
    for name, wanted in case["expected"].items():
        close(names[name], wanted, name)


def tofu_model_utility(case: Case) -> None:
    close(unlearning.model_utility(case["inputs"]["nine_metrics"]), case["expected"]["harmonic_mean"])


def judged(matrix: list[list[float]]) -> np.ndarray:
    """A matrix as judgments in both orders, and back."""
    ids = [str(index) for index in range(len(matrix))]
    rows = [
        {"first_id": first, "second_id": second, "probability": matrix[i][j]}
        for i, first in enumerate(ids)
        for j, second in enumerate(ids)
        if i != j
    ]
    return preference_matrix(rows, ids)


STEPS = re.compile(r"mwu_(sppo|dno)_eta([\d.e+-]+)_from_uniform_t1_t2_t3")


def preference_matrices(case: Case) -> None:
    matrix, expected = judged(case["P"]), case["expected"]
    with_self, others = win_rates(matrix, include_self=True), win_rates(matrix, include_self=False)
    uniform = np.full(len(matrix), 1 / len(matrix))
    winners = games.minimax_winners(matrix)
    names: dict[str, Any] = {
        "winrate_including_self": with_self,
        "winrate_excluding_self": others,
        "spo_reward_pm1": targets.signed(others),
        "spo_rloo_advantage": targets.rloo_advantages(others),
        "spo_rloo_closed_form": targets.rloo_advantages(others),
        "grpo_normalised_advantage_ddof1_eps1e-4": targets.grpo_advantages(others, 1e-4),
        "sppo_eta": expected["sppo_eta"],
        "sppo_targets": targets.sppo_targets(with_self, expected["sppo_eta"]),
        "sppo_targets_exact_logZ": targets.sppo_targets(with_self, expected["sppo_eta"], exact_normaliser=True),
        "minimax_winner": winners[0],
        "n_equilibria_at_smallest_support": len(winners),
        "duality_gap_uniform": games.duality_gap(matrix, uniform),
    }
    for name, wanted in expected.items():
        if name == "sppo_selected_pair_by_winrate":
            selected(winner_loser(with_self), wanted)
        elif step := STEPS.fullmatch(name):
            close(_steps(matrix, uniform, _beta(*step.groups()))[1:], wanted, name)
        elif name == "dno_monotone_check_[P(pi_{t+1}>pi_t), 0.5+eta*KL]":
            beta = next(_beta(*step.groups()) for step in map(STEPS.fullmatch, expected) if step and step[1] == "dno")
            close(_monotone(matrix, _steps(matrix, uniform, beta), beta), wanted, name)
        else:
            close(names[name], wanted, name)


def selected(found: tuple[int, int] | None, wanted: list[int]) -> None:
    """The vectors write a pair that must be dropped as one index twice."""
    assert found == (None if wanted[0] == wanted[1] else tuple(wanted))


def _beta(method: str, eta: str) -> float:
    return 1 / float(eta) if method == "sppo" else float(eta)


def _steps(matrix: np.ndarray, start: np.ndarray, beta: float) -> list[np.ndarray]:
    policies = [start]
    for _ in range(3):
        policies.append(games.policy_step(matrix, policies[-1], beta))
    return policies


def _monotone(matrix: np.ndarray, policies: list[np.ndarray], beta: float) -> list[list[float]]:
    pairs = zip(policies[1:], policies, strict=False)
    return [[games.win_probability(matrix, new, old), 0.5 + beta * games.kl_divergence(new, old)] for new, old in pairs]


def pairrm_logits(case: Case) -> None:
    logits, expected = case["L"], case["expected"]
    scores = pairrm_scores(logits)
    forms = {form: pairrm_preferences(logits, form) for form in ("official", "order_averaged", "order_difference")}
    rates = {form: win_rates(matrix, include_self=True) for form, matrix in forms.items()}
    pairs = {"official": winner_loser(scores), "direct": winner_loser(rates["order_averaged"])}
    best, worst = pairs["official"] or (0, 0)
    names = {
        "official_scores": scores,
        "official_P": forms["official"],
        "official_winrates": rates["official"],
        "official_chosen_probs": forms["official"][best, worst],
        "official_chosen_probs_win": rates["official"][best],
        "official_chosen_probs_lose": rates["official"][worst],
        "direct_P_order_averaged": forms["order_averaged"],
        "direct_winrates_order_averaged": rates["order_averaged"],
        "direct_P_difference_of_orders": forms["order_difference"],
        "direct_winrates_difference_of_orders": rates["order_difference"],
    }
    for name, wanted in expected.items():
        if name.endswith(("_pair", "_pair_order_averaged")):
            selected(pairs[name.partition("_")[0]], wanted)
        elif name == "direct_pair_difference_of_orders":
            selected(winner_loser(rates["order_difference"]), wanted)
        else:
            close(names[name], wanted, name)


def spo_queue(case: Case) -> None:
    queue = WinRateQueue(case["init_queue"], case["queue_size"])
    signed = {"[0,1]": False, "[-1,1]": True}[case["preference_range"]]
    for new, wanted in zip(case["stream"], case["expected"], strict=True):
        assert new == wanted["trajectory"]
        close(queue.reward(new, lambda first, second: case["P"][first][second], signed=signed), wanted["reward"])
        assert queue.items == wanted["queue_after"]


def dno_prct_pairs(case: Case) -> None:
    names = {
        "min_positive_score": "min_positive_score",
        "margin_if_teacher_positive": "teacher_margin",
        "margin_if_student_positive": "student_margin",
    }
    arguments = {names[name]: value for name, value in case["params"].items()}
    found = dno_pairs(case["scores_1_to_6"], case["flagged_repetitive"], case["teacher_index"], **arguments)
    assert json.loads(json.dumps(found)) == case["expected"]["pairs_[chosen,rejected,kind]"]
    assert Counter(pair.kind for pair in found) == case["expected"]["counts"]


def dno_history(case: Case) -> None:
    assert case["convention"].startswith("age 1 -> 30% of that iteration's pairs, age 2 -> 15%")
    found = history_counts(case["pairs_per_iteration"], newest_share=0.3, decay=0.5)
    assert found == case["expected"]["max_pairs_from_previous_[age1,age2,...]"]


ALGORITHMS: dict[str, Callable[[Case], None]] = {
    # vectors_1.json, by key; `sdpo` and `pairwise_reward_to_pointwise` are one case each
    "srs": srs,
    "srs_exact_law": srs_exact_law,
    "srs_distribution": srs_distribution,
    "pair_building": pair_building,
    "pairwise_reward_to_pointwise": pairwise_reward_to_pointwise,
    "sdpo": sdpo,
    # vectors_2.json, by `method`
    "tofu_metrics": tofu_metrics,
    "tofu_model_utility": tofu_model_utility,
    # vectors_3.json, by `kind`
    "preference_matrix": preference_matrices,
    "pairrm_logits": pairrm_logits,
    "spo_queue": spo_queue,
    "dno_prct_pairs": dno_prct_pairs,
    "dno_history": dno_history,
}
