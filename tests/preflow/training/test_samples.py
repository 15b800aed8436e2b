"""Many samples per prompt: the same gradient as all at once, from rows that do not grow with their number."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny
from preflow.models.packing import PackedBatch
from preflow.models.sequence_logps import SequenceLogps
from preflow.settings.losses.completions import D2OLoss
from preflow.training.gradient import GradientEngine, OptimizerBatch
from preflow.training.objectives import bind_terms
from preflow.training.streams import SequenceStore, Stream

PROMPT, LENGTH, BUDGET = 9, 7, 48


def stream_with(samples: int, rows: int = 3) -> Stream:
    """Rows with one unwanted completion each, and `samples` of the prompt: all of the same length."""
    generator, store = np.random.default_rng(0), SequenceStore()
    roles: dict[str, list[Any]] = {"completion": [], "self_sample": []}
    for _ in range(rows):
        prompt = generator.integers(0, 400, PROMPT).tolist()
        each = [store.add(prompt, generator.integers(0, 400, LENGTH).tolist()) for _ in range(samples + 1)]
        roles["completion"].append(each[0])
        roles["self_sample"].append(each[1:])
    ids = [str(row) for row in range(rows)]
    stream = Stream(
        store, ids, ids, {name: np.array(each) for name, each in roles.items()}, np.ones(rows), np.ones(rows)
    )
    stream.reference_logps["reference"] = generator.normal(-40, 5, len(store))
    return stream


class Watched(SequenceLogps):
    """Remembers the shapes of what goes through the model, and how many bytes autograd keeps for each pass."""

    def __init__(self, model: Any):
        super().__init__(model)
        self.shapes: list[tuple[int, ...]] = []
        self.kept: list[int] = []

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        self.shapes.append(tuple(batch.input_ids.shape))
        held: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            held[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = super().forward(batch)
        self.kept.append(sum(held.values()))
        return found


def passed(samples: int, coupled: bool = True, budget: int = BUDGET) -> tuple[torch.Tensor, float, Watched]:
    """(flat gradient, loss, the watched module) of a whole batch."""
    model = tiny.tiny_network(family="gpt2").double()
    stream, module = stream_with(samples), Watched(model)
    term = D2OLoss().main_term().model_copy(update={"coupled": coupled})
    engine = GradientEngine(
        module, {"data": stream}, bind_terms([term]), micro_batch_tokens=budget, device=torch.device("cpu")
    )
    result = engine.accumulate(OptimizerBatch({"data": np.arange(len(stream))}))
    return torch.cat([each.grad.flatten() for each in model.parameters()]), result.loss, module


def test_rows_do_not_grow_with_the_samples() -> None:
    """Neither in tokens nor in the bytes that a backward pass needs; the separable route's would."""
    few, many = passed(6)[2], passed(40)[2]
    assert max(rows * width for each in (few, many) for rows, width in each.shapes) <= BUDGET
    assert max(many.kept) <= 1.05 * max(few.kept)
    whole = passed(40, coupled=False)[2]
    assert max(rows * width for rows, width in whole.shapes) >= PROMPT + 41 * LENGTH
    assert max(whole.kept) > 3 * max(many.kept)


@pytest.mark.parametrize("samples", [1, 11])
def test_cut_prompts_give_the_same_gradient(samples: int) -> None:
    expected, loss, _ = passed(samples, coupled=False, budget=10_000)
    found, value, _ = passed(samples)
    assert expected.norm() > 1e-3
    assert (found - expected).norm() / expected.norm() < 1e-10
    assert value == pytest.approx(loss, rel=1e-12)


def test_the_run_file_takes_the_route_of_constant_memory() -> None:
    (term,) = D2OLoss().terms()
    assert term.coupled
