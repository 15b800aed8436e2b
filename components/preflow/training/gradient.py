"""The exact gradient of an optimizer batch, whatever the micro-batches, their order, and the number of processes.

Separable losses take one pass: each micro-batch back-propagates its part of the sum, divided by a normaliser of the
whole optimizer batch. Coupled losses (the loss of an example depends on others) take the gathered-log-prob route: a
pass without gradients collects the log-probs of all sequences on every process, the loss is evaluated once, autograd
gives g = dL/dlogp per sequence, and the micro-batches back-propagate sum(g * logp).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from preflow.errors import PreflowError
from preflow.models.packing import PackedBatch, PromptGroup, cut_by_tokens, groups_of, pack
from preflow.training.objectives import BoundTerm, Examples, normaliser, term_sum
from preflow.training.streams import Stream


@dataclass(frozen=True)
class OptimizerBatch:
    """Example numbers per stream: what one optimizer step is taken on."""

    examples: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return sum(len(numbers) for numbers in self.examples.values())


@dataclass(frozen=True)
class StepResult:
    """The objective's value and, per stream, policy log-probs by sequence number (of all processes)."""

    loss: float
    logps: dict[str, dict[int, float]]


@dataclass(frozen=True)
class MicroBatch:
    """Prompt groups of one stream that go through the model together."""

    stream: str
    groups: list[PromptGroup]


class NotFinite(PreflowError):
    """A loss or a log-prob is NaN or infinite."""


NoSync = Callable[[], AbstractContextManager[None]]


class GradientEngine:
    """Accumulates d objective / d parameters into `.grad`.

    `module(batch)` gives [S] log-probs and may be wrapped for data parallelism; `no_sync` keeps such a wrapper from
    communicating before the last micro-batch.
    """

    def __init__(
        self,
        module: nn.Module,
        streams: Mapping[str, Stream],
        terms: Sequence[BoundTerm],
        *,
        micro_batch_tokens: int,
        device: torch.device,
        no_sync: NoSync = nullcontext,
        before_micro_batch: Callable[[], None] = lambda: None,
    ):
        self.module, self.streams, self.terms = module, streams, terms
        self.micro_batch_tokens, self.device, self.no_sync = micro_batch_tokens, device, no_sync
        self.before_micro_batch = before_micro_batch
        self.coupled = any(bound.term.coupled for bound in terms)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.world = torch.distributed.get_world_size() if distributed else 1

    def accumulate(self, batch: OptimizerBatch) -> StepResult:
        """Back-propagate the objective over `batch`. Raises NotFinite naming the examples."""
        micros = [micro for name in batch.examples for micro in self._cut(name, batch.examples[name])]
        return self._coupled(batch, micros) if self.coupled else self._separable(batch, micros)

    def _cut(self, name: str, numbers: np.ndarray) -> list[MicroBatch]:
        """Micro-batches of prompt groups. Examples that share a prompt share its row while there is room; none is cut."""
        store = self.streams[name].store
        by_prompt: dict[int, list[list[int]]] = {}
        for unit in _units(self.streams[name], numbers):
            by_prompt.setdefault(store.prompt_of[unit[0]], []).append(unit)
        groups = [
            group
            for prompt, units in by_prompt.items()
            for group in groups_of(store.prompts[prompt], units, store.completions.__getitem__, self.micro_batch_tokens)
        ]
        return [MicroBatch(name, cut) for cut in cut_by_tokens(groups, self.micro_batch_tokens)]

    def _separable(self, batch: OptimizerBatch, micros: Sequence[MicroBatch]) -> StepResult:
        totals = {
            id(bound): normaliser(bound.term, self.streams[bound.term.stream], batch.examples[bound.term.stream])
            for bound in self.terms
        }
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        found: dict[str, dict[int, float]] = {name: {} for name in batch.examples}

        def part(micro: MicroBatch, logps: Tensor, packed: PackedBatch) -> Tensor:
            examples = self._examples_in(batch, micro.stream, packed.indices)
            value = logps.sum() * 0
            for bound in self.terms:
                if bound.term.stream == micro.stream and len(examples.numbers):
                    weighted, losses = term_sum(bound, examples, logps)
                    self._refuse_not_finite(losses, examples)
                    value = value + bound.term.coefficient * weighted / totals[id(bound)]
            found[micro.stream].update(zip(packed.indices, logps.detach().tolist(), strict=True))
            loss.add_(value.detach())
            return value

        self._backward(micros, part)
        return StepResult(*self._gathered(loss, found))

    def _coupled(self, batch: OptimizerBatch, micros: Sequence[MicroBatch]) -> StepResult:
        found: dict[str, dict[int, float]] = {name: {} for name in batch.examples}
        with torch.no_grad():
            for micro in self._mine(micros):
                packed = pack(micro.groups).to(self.device)
                found[micro.stream].update(zip(packed.indices, self.module(packed).double().tolist(), strict=True))
        _, found = self._gathered(torch.zeros((), dtype=torch.float64), found)
        slopes: dict[str, dict[int, float]] = {}
        total = torch.zeros((), dtype=torch.float64)
        leaves = {
            name: torch.tensor(list(logps.values()), dtype=torch.float64, requires_grad=True)
            for name, logps in found.items()
        }
        for bound in self.terms:
            name = bound.term.stream
            local = {sequence: place for place, sequence in enumerate(found[name])}
            examples = Examples(self.streams[name], batch.examples[name], local)
            weighted, losses = term_sum(bound, examples, leaves[name])
            self._refuse_not_finite(losses, examples)
            total = total + bound.term.coefficient * weighted / normaliser(
                bound.term, self.streams[name], batch.examples[name]
            )
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for (name, logps), gradient in zip(found.items(), gradients, strict=True):
            values = torch.zeros(len(logps)) if gradient is None else gradient
            slopes[name] = dict(zip(logps, values.tolist(), strict=True))

        def part(micro: MicroBatch, logps: Tensor, packed: PackedBatch) -> Tensor:
            slope = torch.tensor(
                [slopes[micro.stream][each] for each in packed.indices], dtype=logps.dtype, device=logps.device
            )
            return (slope * logps).sum()

        self._backward(micros, part)
        return StepResult(total.item(), found)

    def _backward(
        self, micros: Sequence[MicroBatch], part: Callable[[MicroBatch, Tensor, PackedBatch], Tensor]
    ) -> None:
        """Every process takes every world-th micro-batch; one that runs out repeats its last with weight zero."""
        mine, rounds = self._mine(micros), -(-len(micros) // self.world)
        for turn in range(rounds):
            self.before_micro_batch()
            micro = mine[turn] if turn < len(mine) else micros[0]
            packed = pack(micro.groups).to(self.device)
            with self.no_sync() if turn < rounds - 1 else nullcontext():
                logps = self.module(packed)
                value = part(micro, logps, packed) if turn < len(mine) else logps.sum() * 0
                (value * self.world).backward()  # data-parallel wrappers average over processes; the objective is a sum

    def _mine(self, micros: Sequence[MicroBatch]) -> list[MicroBatch]:
        return list(micros[self.rank :: self.world])

    def _examples_in(self, batch: OptimizerBatch, name: str, sequences: Sequence[int]) -> Examples:
        """The batch's examples whose sequences are all in this micro-batch. Roles of an example share a prompt, so none is split."""
        stream, numbers = self.streams[name], batch.examples[name]
        local = {sequence: place for place, sequence in enumerate(sequences)}
        first = next(iter(stream.roles.values()))[numbers]
        inside = np.array([int(sequence) in local for sequence in first], dtype=bool)
        return Examples(stream, numbers[inside], local)

    def _refuse_not_finite(self, losses: Tensor, examples: Examples) -> None:
        bad = ~torch.isfinite(losses.detach())
        if bool(bad.any()):
            ids = [examples.stream.ids[examples.numbers[place]] for place in bad.nonzero()[:, 0].tolist()[:5]]
            raise NotFinite(
                f"the loss is not finite for {int(bad.sum())} examples, first {', '.join(ids)}. "
                "Lower the learning rate, look at these rows, or use float32."
            )

    def _gathered(self, loss: Tensor, found: dict[str, dict[int, float]]) -> tuple[float, dict[str, dict[int, float]]]:
        if self.world == 1:
            return loss.item(), found
        parts: list[tuple[float, dict[str, dict[int, float]]]] = [(0.0, {})] * self.world
        torch.distributed.all_gather_object(parts, (loss.item(), found))
        merged: dict[str, dict[int, float]] = {name: {} for name in found}
        for _, each in parts:
            for name, logps in each.items():
                merged[name].update(logps)
        ordered = {name: dict(sorted(logps.items())) for name, logps in merged.items()}
        return sum(value for value, _ in parts), ordered


def _units(stream: Stream, numbers: np.ndarray) -> list[list[int]]:
    """Sequences of the examples `numbers`, those together that an example holds, directly or through others."""
    parents: dict[int, int] = {}

    def root(sequence: int) -> int:
        while parents.setdefault(sequence, sequence) != sequence:
            sequence = parents[sequence]
        return sequence

    for first, *others in zip(*(roles[numbers].tolist() for roles in stream.roles.values()), strict=True):
        for each in (first, *others):
            parents[root(each)] = root(first)
    units: dict[int, list[int]] = {}
    for sequence in sorted(parents):
        units.setdefault(root(sequence), []).append(sequence)
    return list(units.values())
