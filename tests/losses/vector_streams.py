"""Adapters for the losses of single completions, of several streams, of whole distributions, and of reward models."""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from losses.vector_files import Case
from losses.vector_losses import Check, compare, gradient, objective, read_inputs
from preflow.losses.d2o import d2o, d2o_masked
from preflow.losses.dpo import dpo
from preflow.losses.dpop import dpop
from preflow.losses.dro import dro, dro_policy, dro_residuals, dro_value
from preflow.losses.logps import accuracy, log_ratios, logistic
from preflow.losses.npo import npo, npo_weights
from preflow.losses.reward_model import bradley_terry_margin, bradley_terry_ranked, ranked_pair_losses
from preflow.losses.tdpo import tdpo
from preflow.models.divergences import forward_kls
from preflow.models.sequence_logps import _ChunkedLogps
from preflow.settings.losses.completions import NPOLoss


def leaves(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: each for name, each in inputs.items() if each.requires_grad}


def dro_v(case: Case, dtype: torch.dtype) -> None:
    inputs, expected = read_inputs(case, dtype), case["expected"]
    tau = case["params"]["tau"]
    assert set(case["params"]) == {"tau"}
    joint, rescaled = dro(**inputs, tau=tau, rescale=False), dro(**inputs, tau=tau)
    policy, values = inputs["policy_completion_logps"], inputs["completion_values"]
    gradients = {
        "policy_logps_joint_loss": gradient(joint.mean(), policy),
        "policy_logps_rescaled_1_over_tau": gradient(rescaled.mean(), policy),
        "values": gradient(joint.mean(), values),
    }
    case.close(gradient(rescaled.mean(), values), expected["grad_mean_loss"]["values"], dtype, "values, rescaled")
    split = {
        "policy_loss_rescaled_mean": dro_policy(**inputs, tau=tau).mean(),
        "value_loss_mean": dro_value(**inputs, tau=tau).mean(),
    }
    found: dict[str, Any] = {
        "residual": dro_residuals(**inputs, tau=tau),
        "per_example_loss": joint,
        "mean_loss": joint.mean(),
        "grad_mean_loss": gradients,
        "split_losses": split,
    }
    check_all(case, dtype, found, expected)


def check_all(case: Case, dtype: torch.dtype, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every key of `expected`, nested ones too."""
    for key, wanted in expected.items():
        if isinstance(wanted, dict):
            check_all(case, dtype, found[key], wanted)
        else:
            case.close(found[key], wanted, dtype, key)


def d2o_case(case: Case, dtype: torch.dtype) -> None:
    inputs, params = read_inputs(case, dtype), dict(case["params"])
    count = params.pop("K")
    assert inputs["policy_self_sample_logps"].shape[1] == count
    mask = inputs.pop("self_sample_mask", None)
    losses = d2o(**inputs, **params) if mask is None else d2o_masked(**inputs, self_sample_mask=mask, **params)
    single = [d2o(**one_sample(inputs, place), **params) for place in range(count)]
    present = torch.ones_like(inputs["reference_self_sample_logps"]) if mask is None else mask.to(dtype)
    pairwise = (torch.stack(single, 1) * present).sum(1) / present.sum(1).clamp(min=1)
    more = {"mean_pairwise_loss_over_k": pairwise, "logits_z": logits_of(case, losses, dtype)}
    compare(case, dtype, losses, leaves(inputs), more)


def one_sample(inputs: dict[str, Tensor], place: int) -> dict[str, Tensor]:
    return {name: each[:, place : place + 1] if "self_sample" in name else each for name, each in inputs.items()}


def logits_of(case: Case, losses: Tensor, dtype: torch.dtype) -> list[float]:
    """The file's logits, after a check that the losses are the logistic loss of them."""
    wanted = case["expected"]["logits_z"]
    case.close(losses, logistic(torch.tensor(wanted, dtype=torch.float64)).tolist(), dtype, "logistic(logits_z)")
    return wanted


def npo_case(case: Case, dtype: torch.dtype) -> None:
    inputs = read_inputs(case, dtype)
    more = {"adaptive_weight_W": npo_weights(**inputs, **case["params"])}
    compare(case, dtype, npo(**inputs, **case["params"]), leaves(inputs), more)


def npo_section(case: Case, retain: Literal["nll", "kl"]) -> NPOLoss:
    names = {"forget_coef": "forget_weight", "retain_coef": "retain_weight"}
    return NPOLoss(**{names.get(name, name): value for name, value in case["params"].items()}, retain=retain)


def forget_inputs(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """The forget stream's numbers by its role in the data, `completion`."""
    policy = torch.tensor(case["inputs"]["policy_forget_logps"], dtype=dtype, requires_grad=True)
    return {
        "policy_completion_logps": policy,
        "reference_completion_logps": torch.tensor(case["inputs"]["ref_forget_logps"], dtype=dtype),
    }


def by_stream(section: NPOLoss, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
    """The whole objective, each term reduced over its own stream."""
    total: Tensor | float = 0.0
    for term in section.terms():
        total = total + objective([term], forget if term.stream == "data" else retain).mean()
    assert isinstance(total, Tensor)
    return total


def npo_rt(case: Case, dtype: torch.dtype) -> None:
    given = case["inputs"]
    assert set(given) == {"policy_forget_logps", "ref_forget_logps", "retain_token_logps", "retain_token_mask"}
    forget = forget_inputs(case, dtype)
    tokens = torch.tensor(given["retain_token_logps"], dtype=dtype, requires_grad=True)
    mask = torch.tensor(given["retain_token_mask"], dtype=dtype)
    retain = {"policy_completion_logps": (tokens * mask).sum(1), "completion_num_tokens": mask.sum(1)}
    section = npo_section(case, "nll")
    total = by_stream(section, forget, retain)
    losses = npo(*forget.values(), beta=section.beta)
    nothing = section.model_copy(update={"forget_weight": 0.0, "retain_weight": 1.0})
    summed = nothing.model_copy(update={"retain_reduction": "sequence_sum"})
    check_all(
        case,
        dtype,
        {
            "forget_per_example_loss": losses,
            "forget_mean_loss": losses.mean(),
            "retain_nll_token_mean": by_stream(nothing, forget, retain),
            "retain_nll_sequence_sum": objective(summed.terms()[-1:], retain),
            "total_loss": total,
            "grad_total_loss": {
                "policy_forget_logps": gradient(total, forget["policy_completion_logps"]),
                "retain_token_logps": gradient(total, tokens),
            },
        },
        case["expected"],
    )


def npo_kl(case: Case, dtype: torch.dtype) -> None:
    """The KL over answer tokens is the product's; the official code's, over all positions, is the same function's mean."""
    given = case["inputs"]
    forget = forget_inputs(case, dtype)
    policy = torch.tensor(given["retain_policy_logits"], dtype=dtype, requires_grad=True)
    reference = torch.tensor(given["retain_ref_logits"], dtype=dtype)
    kls = token_kls(reference, policy)
    answer = answer_positions(given["retain_labels"])
    retain = {"completion_kls": (kls * answer).sum(1), "completion_num_tokens": answer.sum(1).to(dtype)}
    section = npo_section(case, "kl")
    ours = by_stream(section, forget, retain)
    nothing = section.model_copy(update={"forget_weight": 0.0, "retain_weight": 1.0})
    forget_mean = npo(*forget.values(), beta=section.beta).mean()
    official = section.forget_weight * forget_mean + section.retain_weight * kls.mean()

    def gradients(total: Tensor) -> dict[str, Tensor]:
        forget_gradient = gradient(total, forget["policy_completion_logps"])
        return {"policy_forget_logps": forget_gradient, "retain_policy_logits": gradient(total, policy)}

    check_all(
        case,
        dtype,
        {
            "forget_mean_loss": forget_mean,
            "retain_kl_ref_policy_per_position": kls,
            "retain_kl_official_all_positions_mean": kls.mean(),
            "retain_kl_answer_tokens_mean": by_stream(nothing, forget, retain),
            "retain_kl_reversed_direction_all_positions_mean_PAPER_TEXT": token_kls(policy, reference).mean(),
            "total_loss_official": official,
            "total_loss_answer_tokens": ours,
            "grad_total_loss_official": gradients(official),
            "grad_total_loss_answer_tokens": gradients(ours),
        },
        case["expected"],
    )


def token_kls(first: Tensor, second: Tensor) -> Tensor:
    """KL(first || second) at every position, [B, T], from logits [B, T, V]."""
    return forward_kls(first.log_softmax(-1).flatten(0, 1), second.log_softmax(-1).flatten(0, 1)).view(first.shape[:2])


def answer_positions(labels: list[list[int]]) -> Tensor:
    """[B, T]: positions whose logits predict a label, which is the next one."""
    ids = torch.tensor(labels)
    return torch.nn.functional.pad(ids[:, 1:] != -100, (0, 1))


def dpop_case(case: Case, dtype: torch.dtype) -> None:
    inputs = read_inputs(case, dtype)
    params = {{"lambda": "lam"}.get(name, name): value for name, value in case["params"].items()}
    losses, expected = dpop(**inputs, **params), dict(case["expected"])
    alternatives = expected.pop("kink_alternatives", None)
    if alternatives is not None:
        wanted = alternatives["relu_or_python_max (expected)"]
        case.close(gradient(losses.mean(), inputs["policy_chosen_logps"]), wanted, dtype, "kink")
    for name in [name for name in expected if name.startswith("NOT_this_variant")]:
        expected.pop(name)  # what others compute
    ratios = log_ratios(inputs["policy_chosen_logps"], inputs["reference_chosen_logps"])
    more = {
        "logits_z": logits_of(case, losses, dtype),
        "penalty_hinge_without_lambda": (-ratios).relu(),
        "plain_dpo_per_example_loss": dpo(**inputs, beta=params["beta"]),
    }
    compare(
        Case(2, case.key, case.id, case.content | {"expected": expected}, case.tolerances),
        dtype,
        losses,
        leaves(inputs),
        more,
    )


def tdpo_case(variant: Literal[1, 2], case: Case, dtype: torch.dtype) -> None:
    sides: dict[str, Tensor] = {}
    for side in ("chosen", "rejected"):
        given = {name: case["inputs"][f"{side}_{name}"] for name in ("policy_logits", "ref_logits", "labels")}
        policy = torch.tensor(given["policy_logits"], dtype=dtype, requires_grad=True)
        reference = torch.tensor(given["ref_logits"], dtype=dtype)
        answer = answer_positions(given["labels"])
        sides |= {
            f"{side}_policy_logits": policy,
            f"policy_{side}_logps": sequence_logps(policy, given["labels"]),
            f"reference_{side}_logps": sequence_logps(reference, given["labels"]),
            f"{side}_kls": (token_kls(reference, policy) * answer).sum(1),
        }
    alpha = case["params"]["alpha"]
    assert set(case["params"]) == {"beta", "alpha"}
    arguments = {name: each for name, each in sides.items() if not name.endswith("_logits")}
    losses = tdpo(**arguments, beta=case["params"]["beta"], alpha=0.5 if alpha is None else alpha, variant=variant)
    more = {f"ref_{side}_logps": sides[f"reference_{side}_logps"] for side in ("chosen", "rejected")}
    more |= {f"{side}_seq_kl_ref_policy": sides[f"{side}_kls"] for side in ("chosen", "rejected")}
    more |= {f"policy_{side}_logps": sides[f"policy_{side}_logps"] for side in ("chosen", "rejected")}
    more |= {"logits_z": logits_of(case, losses, dtype)}
    wanted = {f"{side}_seq_kl": sides[f"{side}_kls"] for side in ("chosen", "rejected")}
    compare(case, dtype, losses, {name: each for name, each in sides.items() if "reference" not in name} | wanted, more)


def sequence_logps(logits: Tensor, labels: list[list[int]]) -> Tensor:
    """[B] nats by the product's chunked head: the logits stand for hidden states, the head is the identity."""
    answer, ids = answer_positions(labels), torch.tensor(labels)
    shifted = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-100)
    per_token = _ChunkedLogps.apply(
        logits[answer], torch.eye(logits.shape[-1], dtype=logits.dtype), None, shifted[answer], 2
    )
    rows = answer.nonzero()[:, 0]
    return torch.zeros(len(labels), dtype=logits.dtype).index_add(0, rows, per_token)


def reward_model_bt(case: Case, dtype: torch.dtype) -> None:
    inputs, center = read_inputs(case, dtype), case["params"]["center_rewards_coefficient"] or 0.0
    assert set(case["params"]) == {"center_rewards_coefficient"}
    losses, total = bradley_terry_margin(**inputs), bradley_terry_margin(**inputs, center=center).mean()
    difference = (inputs["chosen_rewards"] - inputs["rejected_rewards"]).detach()
    check_all(
        case,
        dtype,
        {
            "losses": losses,
            "mean": losses.mean(),
            "total": total,
            "grad_mean_chosen": gradient(total, inputs["chosen_rewards"]),
            "grad_mean_rejected": gradient(total, inputs["rejected_rewards"]),
            "accuracy": (accuracy(difference) == 1).double().mean(),  # the file counts no tie, we count one half
        },
        case["expected"],
    )


def reward_model_bt_kwise(case: Case, dtype: torch.dtype) -> None:
    rewards = torch.tensor([case["inputs"]["scores_best_to_worst"]], dtype=dtype, requires_grad=True)
    assert case["params"] == {"K": rewards.shape[1]} and set(case["inputs"]) == {"scores_best_to_worst"}
    loss = bradley_terry_ranked(rewards)
    found = {
        "pair_losses": ranked_pair_losses(rewards)[0],
        "mean": loss[0],
        "grad_scores": gradient(loss.sum(), rewards)[0],
    }
    check_all(case, dtype, found, case["expected"])


STREAMS: dict[str, Check] = {
    "dro_v": dro_v,
    "d2o": d2o_case,
    "npo": npo_case,
    "npo_rt": npo_rt,
    "npo_kl": npo_kl,
    "dpop": dpop_case,
    "tdpo1": partial(tdpo_case, 1),
    "tdpo2": partial(tdpo_case, 2),
    "reward_model_bt": reward_model_bt,
    "reward_model_bt_kwise": reward_model_bt_kwise,
}
