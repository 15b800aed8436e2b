"""Adapters from the vectors' names to ours, for the losses: method -> check(case, dtype).

An adapter renames, calls and compares; an input, a parameter or a key of `expected` that it does not know fails.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losses.vector_files import Case
from preflow.losses.coupled import Coupled
from preflow.settings.losses.reference_free import CPOLoss, ORPOLoss, SimPOLoss, SLiCLoss
from preflow.settings.objective import LossSection
from preflow.settings.train import Term

Check = Callable[[Case, torch.dtype], None]
Inputs = dict[str, Tensor]

INPUTS = {
    "chosen_logps": "policy_chosen_logps",
    "rejected_logps": "policy_rejected_logps",
    "policy_chosen_logps": "policy_chosen_logps",
    "policy_rejected_logps": "policy_rejected_logps",
    "ref_chosen_logps": "reference_chosen_logps",
    "ref_rejected_logps": "reference_rejected_logps",
    "chosen_lens": "chosen_num_tokens",
    "rejected_lens": "rejected_num_tokens",
    "win_prob_chosen": "chosen_win_rates",
    "win_prob_rejected": "rejected_win_rates",
    "p_chosen_beats_rejected": "preferences",
    "reward_1": "chosen_scores",
    "reward_2": "rejected_scores",
    "avg_aligned_logp_chosen": "chosen_alignments",
    "avg_aligned_logp_rejected": "rejected_alignments",
    "ref_sample_is": "chosen_is_reference_sample",
    "logps": "policy_completion_logps",
    "ref_logps": "reference_completion_logps",
    "old_logps": "sampler_completion_logps",
    "policy_logps": "policy_completion_logps",
    "labels": "desirable",
    "kl": "point",
    "advantages": "advantages",
    "rewards": "scores",
    "values": "completion_values",
    "policy_forget_logps": "policy_forget_logps",
    "ref_forget_logps": "reference_forget_logps",
    "policy_sample_logps": "policy_self_sample_logps",
    "ref_minus_sample_logps": "reference_self_sample_logps",
    "ref_plus_rejected_logps": "reference_rejected_logps",
    "sample_mask": "self_sample_mask",
    "yref_logps": "policy_completion_logps",
    "chosen_scores": "chosen_rewards",
    "rejected_scores": "rejected_rewards",
    "margin": "margins",
}
GRADIENTS = {"chosen": "policy_chosen_logps", "rejected": "policy_rejected_logps", "yref": "policy_completion_logps"}
TRAINED = ("policy_", "completion_values", "chosen_rewards", "rejected_rewards")


def read_inputs(case: Case, dtype: torch.dtype) -> Inputs:
    """The case's inputs by our names; what a model computes carries a gradient."""
    found: Inputs = {}
    for name, value in case["inputs"].items():
        ours = INPUTS[name]
        if value is None:
            continue
        if ours == "chosen_is_reference_sample":
            found[ours] = torch.tensor([{"chosen": True, "rejected": False}[each] for each in value])
        elif ours == "desirable":
            found[ours] = torch.tensor(value, dtype=torch.bool)
        else:
            found[ours] = torch.tensor(value, dtype=dtype, requires_grad=ours.startswith(TRAINED))
    return found


def losses_of(found: Any) -> Tensor:
    return found.losses if isinstance(found, Coupled) else found


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def compare(
    case: Case, dtype: torch.dtype, losses: Tensor, leaves: Mapping[str, Tensor], more: Mapping[str, Any] | None = None
) -> None:
    """Every key of `expected`: losses, means and gradients by their names in the three files, the others from `more`."""
    more = more or {}
    names = {theirs: ours for theirs, ours in INPUTS.items() if ours in leaves} | {name: name for name in leaves}

    def check_gradient(value: Tensor, name: str, wanted: Any, what: str) -> None:
        case.close(gradient(value, leaves[names[name]]), wanted, dtype, what)

    for key, wanted in case["expected"].items():
        if key in more:
            case.close(more[key], wanted, dtype, key)
        elif key in ("losses", "per_example_losses", "per_example_loss"):
            case.close(losses, wanted, dtype, key)
        elif key in ("mean", "mean_loss"):
            case.close(losses.mean(), wanted, dtype, key)
        elif key in ("grad_of_mean", "grad_mean_loss"):
            for name, each in wanted.items():
                check_gradient(losses.mean(), name, each, f"{key} {name}")
        elif key.startswith("grad_mean_"):
            check_gradient(losses.mean(), GRADIENTS[key.removeprefix("grad_mean_")], wanted, key)
        elif key.startswith("grad_"):
            check_gradient(losses.sum(), GRADIENTS[key.removeprefix("grad_")], wanted, key)
        else:
            raise AssertionError(f"{case.id}: nobody checks {key!r}")


def plain(path: str, case: Case, dtype: torch.dtype, *, renamed: Mapping[str, str] | None = None, **more: Any) -> None:
    """A loss whose arguments are the case's inputs and parameters. `renamed` maps their parameter to our keyword (None
    for one that the function does not take), `more` are positional arguments or keywords that the case has no name for."""
    renamed = renamed or {}
    inputs = read_inputs(case, dtype)
    given = {renamed.get(name, name): value for name, value in case["params"].items()}
    missing = {name: make(inputs) if callable(make) else make for name, make in more.items()}
    losses = losses_of(function_at(path)(**inputs, **missing, **given))
    compare(case, dtype, losses, {name: each for name, each in inputs.items() if each.requires_grad})


def function_at(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"preflow.losses.{module.removeprefix('preflow.losses.')}"), name)


def objective(terms: Iterable[Term], inputs: Inputs) -> Tensor:
    """[B]: the sum of the terms. A mean over the batch's tokens is one number, the same for all examples.

    Terms take what they ask for from `inputs`, by the role in the data that the term names.
    """
    size = len(next(iter(inputs.values())))
    total: Tensor | float = 0.0
    for term in terms:
        function = function_at(term.loss)
        signature = inspect.signature(function).parameters.values()
        names = [each.name for each in signature if each.kind is not each.KEYWORD_ONLY]
        losses = function(*(inputs[in_data(name, term.roles)] for name in names), **term.arguments)
        if term.reduction == "token_mean":
            tokens = sum(inputs[f"{role}_num_tokens"].sum() for role in term.roles.values())
            losses = (losses.sum() / tokens).expand(size)
        total = total + term.coefficient * losses
    assert isinstance(total, Tensor)
    return total


def in_data(name: str, roles: Mapping[str, str]) -> str:
    """A parameter's name with the role of the data in the place of the role of the signature."""
    for role, own in roles.items():
        for before in ("policy_", "reference_", ""):
            if name.startswith(f"{before}{role}_"):
                return f"{before}{own}_{name.removeprefix(f'{before}{role}_')}"
    return name


def section_check(
    kind: type[LossSection], case: Case, dtype: torch.dtype, *, renamed: Mapping[str, str] | None = None, **fixed: Any
) -> None:
    """A method of several terms: the settings section with the case's parameters, its objective over the inputs."""
    inputs = read_inputs(case, dtype)
    given = {(renamed or {}).get(name, name): value for name, value in case["params"].items()}
    losses = objective(kind(**given, **fixed).terms(), inputs)
    more = {}
    if "calibration_losses" in case["expected"]:
        more["calibration_losses"] = objective(kind(**given | fixed | {"regularization": 0.0}).terms(), inputs)
    compare(case, dtype, losses, {name: each for name, each in inputs.items() if each.requires_grad}, more)


def one_token(side: str) -> Callable[[Inputs], Tensor]:
    """Lengths that a sum ignores."""
    return lambda inputs: torch.ones_like(inputs[f"policy_{side}_logps"]).detach()


def sums(case: Case, dtype: torch.dtype) -> None:
    """IPO with sums: the file of lengths is missing or the flag says so."""
    assert case["params"].get("length_norm", False) is False
    lengths = {f"{side}_num_tokens": one_token(side) for side in ("chosen", "rejected")}
    params = {name: value for name, value in case["params"].items() if name != "length_norm"}
    plain("ipo:ipo", _with(case, params), dtype, length_normalization="sum", **lengths)


def means(case: Case, dtype: torch.dtype) -> None:
    assert case["params"].get("length_norm", True) is True
    params = {name: value for name, value in case["params"].items() if name != "length_norm"}
    plain("ipo:ipo", _with(case, params), dtype, length_normalization="mean")


def bco_pair(case: Case, dtype: torch.dtype) -> None:
    """The shift is given."""
    inputs, params = read_inputs(case, dtype), dict(case["params"])
    rewards = {
        side: function_at("logps:implicit_rewards")(
            inputs[f"policy_{side}_logps"], inputs[f"reference_{side}_logps"], params["beta"]
        )
        for side in ("chosen", "rejected")
    }
    assert set(params) == {"beta", "delta"}
    losses = function_at("bco:bco_at")(rewards["chosen"], rewards["rejected"], params["delta"])
    compare(case, dtype, losses, {name: each for name, each in inputs.items() if each.requires_grad})


def aot(path: str, case: Case, dtype: torch.dtype) -> None:
    """The file's losses stand in the order of the ranks, ours at the examples."""
    inputs = read_inputs(case, dtype)
    params = {{"epsilon": "label_smoothing"}.get(name, name): value for name, value in case["params"].items()}
    losses = losses_of(function_at(path)(**inputs, **params))
    by_rank = losses[ranked_side(path, inputs).argsort()]
    compare(case, dtype, by_rank, {name: each for name, each in inputs.items() if each.requires_grad})


def ranked_side(path: str, inputs: Inputs) -> Tensor:
    chosen, rejected = inputs["policy_chosen_logps"].detach(), inputs["policy_rejected_logps"].detach()
    return chosen - (rejected if path.endswith("aot_paired") else inputs["reference_chosen_logps"])


def _with(case: Case, params: dict[str, Any]) -> Case:
    return Case(case.file, case.key, case.id, case.content | {"params": params}, case.tolerances)


SMOOTHING = {"epsilon": "label_smoothing"}
GAMMA = {"gamma": "beta"}
LOSSES: dict[str, Check] = {
    "dpo": partial(plain, "dpo:dpo"),
    "cdpo": partial(plain, "dpo:dpo", renamed=SMOOTHING),
    "robust_dpo": partial(plain, "dpo:robust_dpo"),
    "robust": partial(plain, "dpo:robust_dpo", renamed=SMOOTHING),
    "slic_hf": partial(section_check, SLiCLoss, renamed={"reg_weight": "regularization"}, target="targets"),
    "rso_hinge": partial(plain, "rso:hinge", renamed=GAMMA),
    "rso_hinge_norm": partial(plain, "rso:hinge_norm", renamed=GAMMA),
    "rso_sigmoid_norm": partial(plain, "rso:sigmoid_norm", renamed=GAMMA),
    "gpo": partial(plain, "gpo:gpo"),
    "ipo_sum": sums,
    "ipo_mean": means,
    "hinge": partial(plain, "rso:hinge_norm"),
    "sigmoid_norm": partial(plain, "length_norm:sigmoid_norm_length"),
    "exo_pair": partial(plain, "exo:exo_pair", renamed=SMOOTHING),
    "nca_pair": partial(plain, "nca:nca_pair"),
    "bco_pair": bco_pair,
    "aot_paired": partial(aot, "aot:aot_paired"),
    "aot_unpaired": partial(aot, "aot:aot_unpaired"),
    "apo_zero": partial(plain, "apo:apo_zero"),
    "apo_down": partial(plain, "apo:apo_down"),
    "discopop": partial(plain, "discopop:discopop"),
    "rpo": partial(plain, "rpo:rpo"),
    "wpo": partial(plain, "wpo:wpo"),
    "xpo": partial(plain, "xpo:xpo"),
    "dno": partial(plain, "dno:dno", renamed={"eta": "beta"}),
    "dno_prct": partial(plain, "dpo:dpo", renamed={"eta": "beta"}),
    "sppo": partial(plain, "sppo:sppo"),
    "sppo_pair": partial(plain, "sppo:sppo_pair"),
    "sppo_hard": partial(plain, "sppo:sppo_hard"),
    "rebel": partial(plain, "rebel:rebel"),
    "cpo": partial(section_check, CPOLoss),
    "simpo": partial(plain, "simpo:simpo"),
    "cpo_simpo": partial(section_check, SimPOLoss),
    "orpo": partial(section_check, ORPOLoss),
    "kto": partial(plain, "kto:kto_at", renamed={"lambda_D": "desirable_weight", "lambda_U": "undesirable_weight"}),
    "reinforce": partial(plain, "policy_gradient:reinforce"),
    "ppo_seq": partial(plain, "policy_gradient:ppo_seq"),
}
