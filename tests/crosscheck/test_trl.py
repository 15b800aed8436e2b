"""Our losses against TRL's own, which are driven with the log-probs of this file: `make crosscheck`.

TRL's loss methods run unchanged: a stub takes the model's place and hands them one token's log-prob per token of the mask.
Where TRL follows the paper, values and gradients are equal; where it does not, a test of its own names the difference and
holds that it is the whole one.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from preflow.losses.aot import aot_paired, aot_unpaired
from preflow.losses.apo import apo_down, apo_zero
from preflow.losses.bco import bco_pair
from preflow.losses.cpo import cpo
from preflow.losses.discopop import discopop
from preflow.losses.dpo import dpo, robust_dpo
from preflow.losses.exo import exo_pair
from preflow.losses.gpo import gpo
from preflow.losses.ipo import ipo
from preflow.losses.kto import kto
from preflow.losses.length_norm import sigmoid_norm_length
from preflow.losses.likelihood import nll
from preflow.losses.logps import logistic
from preflow.losses.nca import nca_pair
from preflow.losses.orpo import orpo
from preflow.losses.reward_model import bradley_terry
from preflow.losses.rso import hinge, hinge_norm, sigmoid_norm
from preflow.losses.simpo import simpo
from preflow.losses.sppo import sppo_hard

pytestmark = pytest.mark.trl
trl = pytest.importorskip("trl", reason="TRL is not installed: make crosscheck")

PAIRS = 7
CHOSEN_TOKENS = torch.tensor([3, 1, 4, 1, 5, 2, 6])
REJECTED_TOKENS = torch.tensor([2, 6, 1, 1, 3, 5, 2])
LONGEST = 6


def token_logps(lengths: Tensor, seed: int) -> Tensor:
    """[B, LONGEST] float64: a log-prob for every token of a completion, 0 behind its end, as TRL's fused head gives them."""
    random = torch.Generator().manual_seed(seed)
    values = -3 * torch.rand(len(lengths), LONGEST, generator=random, dtype=torch.float64)
    return values * (torch.arange(LONGEST) < lengths[:, None])


POLICY = token_logps(CHOSEN_TOKENS, 1), token_logps(REJECTED_TOKENS, 2)
REFERENCE = token_logps(CHOSEN_TOKENS, 3), token_logps(REJECTED_TOKENS, 4)
LOGPS = [each.sum(-1) for each in (*POLICY, *REFERENCE)]
"""Of the policy (chosen, rejected) and of the reference: the arguments of most losses."""
TOKENS = [CHOSEN_TOKENS.double(), REJECTED_TOKENS.double()]
MASK = torch.cat([torch.arange(LONGEST) < each[:, None] for each in (CHOSEN_TOKENS, REJECTED_TOKENS)])


class Accelerator:
    """One process."""

    device = torch.device("cpu")

    def gather_for_metrics(self, value: Any) -> Any:
        return value

    gather = gather_for_metrics


def stub_outputs(logps: Tensor) -> SimpleNamespace:
    nothing = torch.zeros_like(logps)
    return SimpleNamespace(log_probs=logps, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), aux_loss=None)


def trl_dpo(loss_type: str, beta: float, label_smoothing: float = 0.0, tau: float = 0.05) -> tuple[Tensor, Tensor]:
    """DPOTrainer's loss, and its gradient with respect to the chosen completions' log-probs."""
    policy = [each.clone().requires_grad_() for each in POLICY]
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=Accelerator(),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        use_weighting=False,
        args=SimpleNamespace(discopop_tau=tau),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    prompt = torch.zeros(2 * PAIRS, 1, dtype=torch.long)
    mask = torch.cat([prompt, MASK.long()], 1)
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": LOGPS[2],
        "ref_rejected_logps": LOGPS[3],
    }
    loss = trl.DPOTrainer._compute_loss(trainer, lambda **_: stub_outputs(torch.cat(policy)), inputs, False)
    (gradient,) = torch.autograd.grad(loss, policy[0], allow_unused=True)
    return loss.detach(), gradient[:, 0]  # every token has the gradient of its sequence


def our_pairs(loss: Callable[..., Any], *more: Any, **settings: Any) -> tuple[Tensor, Tensor]:
    chosen, rejected, *reference = (each.clone().requires_grad_() for each in LOGPS)
    takes_reference = "reference_chosen_logps" in loss.__annotations__
    found = loss(chosen, rejected, *(reference if takes_reference else ()), *more, **settings)
    mean = getattr(found, "losses", found).mean()
    (gradient,) = torch.autograd.grad(mean, chosen)
    return mean.detach(), gradient


EQUAL: dict[str, tuple[Callable[..., Any], list[Any], dict[str, Any], dict[str, Any]]] = {
    "sigmoid": (dpo, [], {"beta": 0.1}, {}),
    "hinge": (hinge_norm, [], {"beta": 0.3}, {}),
    "ipo": (ipo, TOKENS, {"tau": 0.2}, {"beta": 0.2}),
    "exo_pair": (exo_pair, [], {"beta": 0.1, "label_smoothing": 1e-3}, {"label_smoothing": 1e-3}),
    "nca_pair": (nca_pair, [], {"beta": 0.2}, {}),
    "robust": (robust_dpo, [], {"beta": 0.1, "label_smoothing": 0.2}, {"label_smoothing": 0.2}),
    "sppo_hard": (sppo_hard, [], {"beta": 0.1}, {}),
    "aot": (aot_paired, [], {"beta": 0.1, "label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    "aot_unpaired": (aot_unpaired, [], {"beta": 0.1, "label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    "apo_zero": (apo_zero, [], {"beta": 0.1}, {}),
    "apo_down": (apo_down, [], {"beta": 0.1}, {}),
    "discopop": (discopop, [], {"beta": 0.1, "tau": 0.5}, {"tau": 0.5}),
    "sigmoid_norm": (sigmoid_norm_length, TOKENS, {"beta": 5.0}, {}),
}


@pytest.mark.parametrize("name", list(EQUAL))
def test_equal(name: str) -> None:
    """Value and gradient."""
    loss, more, ours, theirs = EQUAL[name]
    found, found_gradient = our_pairs(loss, *more, **ours)
    expected, expected_gradient = trl_dpo(name, **{"beta": ours.get("beta", 0.1), **theirs})
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found_gradient, expected_gradient, rtol=1e-6, atol=1e-9)


def test_conservative_dpo_is_gone_from_trl() -> None:
    """DPO's label smoothing (Mitchell's note): `loss_type="sigmoid"` ignores the setting."""
    smoothed, _ = our_pairs(dpo, beta=0.1, label_smoothing=0.2)
    plain, _ = our_pairs(dpo, beta=0.1)
    theirs, _ = trl_dpo("sigmoid", 0.1, label_smoothing=0.2)
    assert abs(smoothed - plain) > 1e-3
    torch.testing.assert_close(theirs, plain)


def test_sums_of_ipo_are_not_trls() -> None:
    """The paper's sums (GPO's squared function is the same up to scale): TRL has token means alone."""
    summed, _ = our_pairs(ipo, *TOKENS, tau=0.2, length_normalization="sum")
    theirs, _ = trl_dpo("ipo", 0.2)
    assert abs(summed - theirs) > 1e-2
    squared, _ = our_pairs(gpo, beta=0.4, f="squared")  # (beta * h - 1)^2 = beta^2 * (h - 1 / beta)^2, tau = beta / 2
    torch.testing.assert_close(squared / 0.4**2, summed)


def test_sigmoid_norm_of_rso_is_not_trls() -> None:
    """RSO's name means a logistic loss on log-ratios, which is DPO's; TRL's normalises by length."""
    torch.testing.assert_close(our_pairs(sigmoid_norm, beta=0.05)[0], trl_dpo("sigmoid", 0.05)[0])
    assert abs(our_pairs(sigmoid_norm, beta=0.05)[0] - trl_dpo("sigmoid_norm", 0.05)[0]) > 1e-4


def test_bco_without_its_shift_is_trls() -> None:
    """`bco_pair` of 1.16 has lost the shift delta that makes it BCO: it equals ours where delta is 0."""
    ours, _ = our_pairs(bco_pair, {"reward_mean": 0.0, "reward_count": 0.0}, beta=0.1)
    theirs, _ = trl_dpo("bco_pair", 0.1)
    chosen, rejected = 0.1 * (LOGPS[0] - LOGPS[2]), 0.1 * (LOGPS[1] - LOGPS[3])
    torch.testing.assert_close(theirs, (logistic(chosen) + logistic(-rejected)).mean())
    assert abs(ours - theirs) > 1e-4


def trl_cpo(loss_type: str, beta: float, gamma: float = 0.0) -> Tensor:
    from trl.experimental.cpo import CPOTrainer

    chosen, rejected = LOGPS[0], LOGPS[1]
    if loss_type == "simpo":  # TRL averages before it calls the loss
        chosen, rejected = chosen / TOKENS[0], rejected / TOKENS[1]
    trainer = SimpleNamespace(
        accelerator=Accelerator(), alpha=0.0, beta=beta, simpo_gamma=gamma, loss_type=loss_type, label_smoothing=0.0
    )
    return CPOTrainer.cpo_loss(trainer, chosen, rejected)[0].mean()


def test_without_a_reference() -> None:
    torch.testing.assert_close(our_pairs(cpo, beta=0.1)[0], trl_cpo("sigmoid", 0.1))
    torch.testing.assert_close(our_pairs(hinge, beta=0.1)[0], trl_cpo("hinge", 0.1))
    torch.testing.assert_close(our_pairs(simpo, *TOKENS, beta=2.0, gamma=1.0)[0], trl_cpo("simpo", 2.0, 1.0))


def test_orpo() -> None:
    """TRL returns lam * log sigmoid, to be subtracted, and works in float32."""
    from trl.experimental.orpo import ORPOTrainer

    means = LOGPS[0] / TOKENS[0], LOGPS[1] / TOKENS[1]
    trainer = SimpleNamespace(accelerator=Accelerator(), beta=0.1)
    theirs = -ORPOTrainer.odds_ratio_loss(trainer, *means)[0].mean()
    ours, _ = our_pairs(orpo, *TOKENS, lam=0.1)
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 1.5)])
def test_kto_and_its_reference_point(weights: tuple[float, float]) -> None:
    """Labels alternate; the mismatched log-probs are given to both, so that the point is the same."""
    lengths = torch.cat([CHOSEN_TOKENS, REJECTED_TOKENS])
    policy, reference = torch.cat(POLICY), torch.cat(REFERENCE)
    labels = torch.arange(2 * PAIRS) % 2 == 0
    mismatched = token_logps(lengths, 5).sum(-1), token_logps(lengths, 6).sum(-1)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=Accelerator(),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        calculate_KL=True,
        loss_type="kto",
        beta=0.1,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
        _compute_kl_logps=lambda model, batch: mismatched[0],
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    mask = torch.cat([torch.zeros(2 * PAIRS, 1, dtype=torch.long), MASK.long()], 1)
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "label": labels,
        "ref_logps": reference.sum(-1),
        "ref_KL_logps": mismatched[1],
    }
    theirs = trl.KTOTrainer._compute_loss(trainer, lambda **_: stub_outputs(policy), inputs, False)
    ours = kto(
        policy.sum(-1),
        reference.sum(-1),
        labels,
        *mismatched,
        beta=0.1,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
    )
    torch.testing.assert_close(ours.losses.mean(), theirs)
    assert theirs != pytest.approx(0.5, abs=1e-4), "a case that tells something"


def test_reward_model() -> None:
    """RewardTrainer's Bradley-Terry loss, with its centring term."""
    chosen, rejected = LOGPS[0] / 3, LOGPS[1] / 3
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=Accelerator(),
        args=SimpleNamespace(center_rewards_coefficient=0.05),
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {"input_ids": torch.ones(2 * PAIRS, 2), "attention_mask": torch.ones(2 * PAIRS, 2, dtype=torch.long)}
    model = lambda **_: SimpleNamespace(logits=torch.cat([chosen, rejected])[:, None])  # noqa: E731
    theirs = trl.RewardTrainer.compute_loss(trainer, model, inputs)
    torch.testing.assert_close(bradley_terry(chosen, rejected, center=0.05).mean(), theirs)


def test_the_supervised_term() -> None:
    """TRL's `sft` is the mean over all tokens of the batch: our NLL with the token mean as its reduction."""
    theirs, _ = trl_dpo("sft", 0.1)
    torch.testing.assert_close((nll(LOGPS[0]).sum() / CHOSEN_TOKENS.sum()), theirs)
    assert math.isfinite(theirs)
