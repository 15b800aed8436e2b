"""The gradient of an optimizer batch is exact: whatever the cut, the padding, the order, and the number of processes."""

import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

import tiny
from preflow.errors import SettingsError
from preflow.models.check import check_model
from preflow.models.packing import PromptGroup, pack
from preflow.models.sequence_logps import SequenceLogps
from preflow.settings.train import Term
from preflow.training.gradient import GradientEngine, NotFinite, OptimizerBatch
from preflow.training.objectives import BoundTerm, bind_term, bind_terms
from preflow.training.streams import SequenceStore, Stream
from two_processes import can_fork, in_two_processes

PREFERENCE = Term(loss="preflow.losses.dpo:dpo", arguments={"beta": 0.3})
TOKEN_MEAN = Term(roles={"chosen": "chosen"}, loss="preflow.losses.dpo:dpo", reduction="token_mean", coefficient=0.7)


def chosen_nll(policy_chosen_logps: torch.Tensor) -> torch.Tensor:
    return -policy_chosen_logps


def toy_coupled(policy_chosen_logps: torch.Tensor, policy_rejected_logps: torch.Tensor) -> torch.Tensor:
    """Every example's loss depends on the whole batch: softplus of its margin's distance from the batch mean."""
    margins = policy_chosen_logps - policy_rejected_logps
    return torch.nn.functional.softplus(-(margins - margins.mean()) * (1 + margins.std()))


def objective(name: str) -> tuple[BoundTerm, ...]:
    preference = bind_terms([PREFERENCE])[0]
    nll = bind_term(TOKEN_MEAN, chosen_nll)
    coupled = bind_term(Term(coupled=True), toy_coupled)
    return {"separable": (preference, nll), "coupled": (coupled, nll)}[name]


def ragged_stream(pairs: int = 7) -> Stream:
    """Pairs of ragged lengths; some share a prompt; weights and preferences differ."""
    generator, store = np.random.default_rng(0), SequenceStore()
    numbers: dict[str, list[int]] = {"chosen": [], "rejected": []}
    for pair in range(pairs):
        prompt = generator.integers(0, 400, size=3 + 5 * (pair % 3)).tolist() if pair != 3 else [1, 2, 3]
        for role in numbers:
            numbers[role].append(
                store.add(prompt, generator.integers(0, 400, size=int(generator.integers(1, 12))).tolist())
            )
    roles = {role: np.array(values) for role, values in numbers.items()}
    weight, preference = generator.uniform(0.5, 2, pairs), generator.uniform(0.5, 1, pairs)
    ids = [f"pair-{n}" for n in range(pairs)]
    stream = Stream(store, ids, ids, roles, weight, preference)
    stream.reference_logps["reference"] = generator.normal(-40, 5, len(store))
    return stream


def gradient(name: str, budget: int, order: np.ndarray | None = None, model: Any = None) -> tuple[torch.Tensor, float]:
    """(flat gradient, loss) of the objective on the whole ragged stream."""
    model = model or tiny.tiny_network(family="gpt2").double()
    stream = ragged_stream()
    engine = GradientEngine(
        SequenceLogps(model), {"data": stream}, objective(name), micro_batch_tokens=budget, device=torch.device("cpu")
    )
    result = engine.accumulate(OptimizerBatch({"data": np.arange(len(stream)) if order is None else order}))
    return torch.cat([p.grad.flatten() for p in model.parameters()]), result.loss


def by_hand(name: str) -> tuple[torch.Tensor, float]:
    """The same objective without any of the engine: one sequence at a time through the plain model."""
    model, stream = tiny.tiny_network(family="gpt2").double(), ragged_stream()
    store = stream.store
    logps = []
    for number in range(len(store)):
        prompt, completion = store.prompts[store.prompt_of[number]].tolist(), store.completions[number].tolist()
        rows = model(torch.tensor([prompt + completion])).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        logps.append(rows.gather(-1, torch.tensor(completion)[:, None]).sum())
    policy, reference = torch.stack(logps), torch.tensor(stream.reference_logps["reference"])
    weight, preference = torch.tensor(stream.weight), torch.tensor(stream.preference)
    chosen, rejected = (torch.tensor(stream.roles[role]) for role in ("chosen", "rejected"))
    if name == "separable":
        h = (policy[chosen] - reference[chosen]) - (policy[rejected] - reference[rejected])
        softplus = torch.nn.functional.softplus
        losses = preference * softplus(-0.3 * h) + (1 - preference) * softplus(0.3 * h)
    else:
        losses = preference * toy_coupled(policy[chosen], policy[rejected]) + (1 - preference) * toy_coupled(
            policy[rejected], policy[chosen]
        )
    lengths = torch.tensor([float(store.completions.length(int(n))) for n in chosen])
    total = (weight * losses).sum() / weight.sum() + 0.7 * (weight * -policy[chosen]).sum() / (weight * lengths).sum()
    total.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]), total.item()


@pytest.mark.parametrize("name", ["separable", "coupled"])
@pytest.mark.parametrize("budget", [1, 40, 90, 10_000])
def test_every_cut_gives_the_gradient_by_hand(name: str, budget: int) -> None:
    expected, loss = by_hand(name)
    found, value = gradient(name, budget)
    assert expected.norm() > 0.01
    assert (found - expected).norm() / expected.norm() < 1e-10
    assert value == pytest.approx(loss, rel=1e-10)


@pytest.mark.parametrize("name", ["separable", "coupled"])
def test_order_does_not_matter(name: str) -> None:
    expected, _ = gradient(name, 60)
    found, _ = gradient(name, 60, np.array([6, 2, 0, 5, 1, 4, 3]))
    assert (found - expected).norm() / expected.norm() < 1e-10


def test_a_prompt_of_many_examples_is_shared_within_the_budget() -> None:
    """Twelve pairs of one prompt, a chosen side common to three of them: rows stay short, the gradient is the same."""
    store = SequenceStore()
    rejected = [store.add([1, 2, 3], [50 + number] * 6) for number in range(12)]
    chosen = [store.add([1, 2, 3], [90 + number // 3] * 6) for number in range(12)]
    roles = {"chosen": np.array(chosen), "rejected": np.array(rejected)}
    ids = [str(number) for number in range(12)]
    stream = Stream(store, ids, ids, roles, np.ones(12), np.ones(12))
    stream.reference_logps["reference"] = np.linspace(-50, -40, len(store))
    found = []
    for budget in (30, 10_000):
        model = tiny.tiny_network(family="gpt2").double()
        engine = GradientEngine(
            SequenceLogps(model),
            {"data": stream},
            objective("separable"),
            micro_batch_tokens=budget,
            device=model.device,
        )
        batch = OptimizerBatch({"data": np.arange(12)})
        cuts = engine._micros(engine._units(batch))
        assert [len(cut.groups) for cut in cuts] == ([1] * 4 if budget == 30 else [1])
        assert max(group.num_tokens for cut in cuts for group in cut.groups) == (27 if budget == 30 else 99)
        engine.accumulate(batch)
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (found[0] - found[1]).norm() / found[1].norm() < 1e-10


def test_padding_does_not_matter() -> None:
    """A row alone and beside a far longer one; and whatever token fills the rest."""
    model = tiny.tiny_network(family="gpt2").double()
    short, long = PromptGroup([5, 6], ([7, 8], [9]), (0, 1)), PromptGroup([3] * 60, ([4] * 30,), (2,))
    alone = SequenceLogps(model)(pack([short]))[0]
    for pad in (0, 7, 399):
        beside = SequenceLogps(model)(pack([long, short], pad_id=pad))[0, 1:]
        torch.testing.assert_close(beside, alone, rtol=1e-12, atol=1e-12)


CASES = [("separable", 60), ("coupled", 60), ("separable", 10_000)]
"""The last has one micro-batch for two processes: one of them takes a weightless turn."""


def shared_gradients(accelerator: Accelerator) -> list[dict[str, Any]]:
    found = []
    for name, budget in CASES:
        model, stream = tiny.tiny_network(family="gpt2").double(), ragged_stream()
        module = accelerator.prepare(SequenceLogps(model))
        engine = GradientEngine(
            module,
            {"data": stream},
            objective(name),
            micro_batch_tokens=budget,
            device=accelerator.device,
            no_sync=lambda module=module: accelerator.no_sync(module),
        )
        assert engine.world == 2
        result = engine.accumulate(OptimizerBatch({"data": np.arange(len(stream))}))
        found.append({"gradient": torch.cat([p.grad.flatten() for p in model.parameters()]), "loss": result.loss})
    return found


@can_fork
def test_two_processes_give_the_same_gradient(tmp_path: Path) -> None:
    for results in in_two_processes(shared_gradients, tmp_path):
        for (name, _), found in zip(CASES, results, strict=True):
            expected, loss = gradient(name, 60)
            assert (found["gradient"] - expected).norm() / expected.norm() < 1e-10
            assert found["loss"] == pytest.approx(loss, rel=1e-10)


def test_model_check_passes_for_the_families_we_build() -> None:
    for family in ("gpt2", "llama"):
        check_model(tiny.tiny_network(family=family))


def test_a_loss_that_is_not_finite_names_the_example() -> None:
    stream = ragged_stream()
    stream.reference_logps["reference"][stream.roles["chosen"][2]] = np.nan
    model = tiny.tiny_network(family="gpt2")
    engine = GradientEngine(
        SequenceLogps(model),
        {"data": stream},
        bind_terms([PREFERENCE]),
        micro_batch_tokens=99,
        device=torch.device("cpu"),
    )
    with pytest.raises(NotFinite, match="pair-2"):
        engine.accumulate(OptimizerBatch({"data": np.arange(len(stream))}))


def test_terms_are_checked_before_a_model_is_loaded() -> None:
    for term, words in [
        (Term(loss="os:getcwd"), "expected preflow.losses"),
        (Term(loss="preflow.losses.dpo:nothing"), "no such function"),
        (Term(arguments={"betta": 1.0}), "unknown arguments"),
        (Term(roles={"target": "completion"}), "asks for"),
    ]:
        with pytest.raises(SettingsError, match=words):
            bind_terms([term])


def test_store_keeps_equal_sequences_once() -> None:
    store = SequenceStore()
    assert store.add([1, 2], [3]) == store.add([1, 2], [3]) == 0
    assert store.add([1], [2, 3]) == 1
    assert store.prompt_of == array("q", [0, 1])
    assert json.dumps(store.ids)
