"""The exact gradient of an optimizer batch, whatever the micro-batches, their order, and the number of processes.

Separable losses take one pass: each micro-batch back-propagates its part of the sum, divided by a normaliser of the
whole optimizer batch. Coupled losses (the loss of an example depends on others) take the gathered-log-prob route: a
pass without gradients collects the log-probs of all sequences on every process, the loss is evaluated once, autograd
gives g = dL/dlogp per sequence, and the micro-batches back-propagate sum(g * logp).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from preflow.artifacts.draws import uniforms
from preflow.errors import PreflowError
from preflow.models.packing import PackedBatch, PromptGroup, cut_by_tokens, groups_of, pack
from preflow.training.objectives import Batchwise, BoundTerm, Examples, evaluate_term, normaliser
from preflow.training.streams import Stream

Values = dict[int, tuple[float, ...]]


@dataclass(frozen=True)
class OptimizerBatch:
    """Example numbers per stream: what one optimizer step is taken on."""

    examples: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return sum(len(numbers) for numbers in self.examples.values())


@dataclass(frozen=True)
class StepResult:
    """The objective's value, its coupled terms' metrics and, per stream, each sequence's quantities (of all processes)."""

    loss: float
    values: dict[str, Values]
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MicroBatch:
    """Prompt groups of one stream that go through the model together."""

    stream: str
    groups: list[PromptGroup]


class NotFinite(PreflowError):
    """A loss or a log-prob is NaN or infinite."""


NoSync = Callable[[], AbstractContextManager[None]]
Part = Callable[[MicroBatch, Tensor, PackedBatch], Tensor]


class GradientEngine:
    """Accumulates d objective / d parameters into `.grad`.

    `module(batch)` gives the `quantities` [Q, S] and may be wrapped for data parallelism; `no_sync` keeps such a wrapper
    from communicating before the last micro-batch. `state` is that of the coupled losses, by loss.
    """

    def __init__(
        self,
        module: nn.Module,
        streams: Mapping[str, Stream],
        terms: Sequence[BoundTerm],
        *,
        micro_batch_tokens: int,
        device: torch.device,
        quantities: tuple[str, ...] = ("logps",),
        seed: int = 0,
        no_sync: NoSync = nullcontext,
        before_micro_batch: Callable[[], None] = lambda: None,
    ):
        self.module, self.streams, self.terms, self.quantities = module, streams, terms, quantities
        self.micro_batch_tokens, self.device, self.no_sync = micro_batch_tokens, device, no_sync
        self.before_micro_batch, self.seed = before_micro_batch, seed
        self.coupled = any(bound.term.coupled for bound in terms)
        self.state: dict[str, dict[str, float]] = {}
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.world = torch.distributed.get_world_size() if distributed else 1

    def accumulate(self, batch: OptimizerBatch, step: int = 0) -> StepResult:
        """Back-propagate the objective over `batch`; `step` keys the draws of losses that draw. Raises NotFinite."""
        if self.coupled:
            return self._coupled(batch, step)
        return self._separable(batch)

    def _micros(self, wanted: Mapping[str, list[list[int]]]) -> list[MicroBatch]:
        return [micro for name, units in wanted.items() for micro in self._cut(name, units)]

    def _units(self, batch: OptimizerBatch) -> dict[str, list[list[int]]]:
        """Per stream, the sequences of the batch's examples that any loss asks for, those together that must not be cut apart.

        A separable example needs all of its sequences in one micro-batch. A coupled objective knows the slope of every
        sequence, so each stands alone and memory does not grow with the number of an example's sequences.
        """
        found = {}
        for name, numbers in batch.examples.items():
            used = {role for bound in self.terms if bound.term.stream == name for role in bound.term.roles.values()}
            units = self.streams[name].units(numbers, sorted(used))
            found[name] = [[each] for unit in units for each in unit] if self.coupled else units
        return found

    def _cut(self, name: str, units: Sequence[list[int]]) -> list[MicroBatch]:
        """Micro-batches of prompt groups. Units that share a prompt share its row while there is room; none is cut."""
        store = self.streams[name].store
        by_prompt: dict[int, list[list[int]]] = {}
        for unit in units:
            by_prompt.setdefault(store.prompt_of[unit[0]], []).append(unit)
        groups = [
            group
            for prompt, together in by_prompt.items()
            for group in groups_of(
                store.prompts[prompt], together, store.completions.__getitem__, self.micro_batch_tokens
            )
        ]
        return [MicroBatch(name, cut) for cut in cut_by_tokens(groups, self.micro_batch_tokens)]

    def _separable(self, batch: OptimizerBatch) -> StepResult:
        totals = {
            id(bound): normaliser(bound.term, self.streams[bound.term.stream], batch.examples[bound.term.stream])
            for bound in self.terms
        }
        shares = torch.zeros(len(self.terms), dtype=torch.float64, device=self.device)
        found: dict[str, Values] = {name: {} for name in batch.examples}

        def part(micro: MicroBatch, values: Tensor, packed: PackedBatch) -> Tensor:
            examples = self._examples_in(batch, micro.stream, packed.indices)
            value = values.sum() * 0
            for place, bound in enumerate(self.terms):
                if bound.term.stream == micro.stream and len(examples.numbers):
                    term = evaluate_term(bound, examples, values)
                    self._refuse_not_finite(term.losses, examples)
                    share = bound.term.coefficient * term.total / totals[id(bound)]
                    shares[place] += share.detach()
                    value = value + share
            found[micro.stream].update(by_sequence(packed, values))
            return value

        self._backward(self._micros(self._units(batch)), part)
        of_terms, all_found = self._gathered(shares, found)
        return StepResult(sum(of_terms), all_found, share_metrics(self.terms, of_terms))

    def _coupled(self, batch: OptimizerBatch, step: int) -> StepResult:
        wanted = self._units(batch)
        found = self._measure(batch, self._micros(wanted))
        leaves = {
            name: torch.tensor(list(values.values()), dtype=torch.float64).T.clone().requires_grad_()
            for name, values in found.items()
        }
        shares, metrics, state = self._objective(batch, found, leaves, step)
        total = torch.stack(shares).sum()
        slopes = self._slopes(total, found, leaves)
        steep = {name: _where(sequences, slopes[name]) for name, sequences in wanted.items()}
        if not any(len(each) for each in steep.values()):
            steep = wanted  # nothing to learn: a pass with zero weights, so that the optimizer steps as always

        def part(micro: MicroBatch, values: Tensor, packed: PackedBatch) -> Tensor:
            slope = torch.tensor([slopes[micro.stream][each] for each in packed.indices], dtype=torch.float64)
            return (slope.T.to(values) * values).sum()

        self._backward(self._micros(steep), part)
        self.state = state  # not before: whoever stops in the middle of a step saves the state of the last one
        metrics |= share_metrics(self.terms, [share.item() for share in shares])
        return StepResult(total.item(), found, metrics)

    def _measure(self, batch: OptimizerBatch, micros: Sequence[MicroBatch]) -> dict[str, Values]:
        """The quantities of every sequence, without gradients, on every process."""
        found: dict[str, Values] = {name: {} for name in batch.examples}
        with torch.no_grad():
            for micro, _ in self._turns(micros):
                packed = pack(micro.groups).to(self.device)
                found[micro.stream].update(by_sequence(packed, self.module(packed)))
        return self._gathered(torch.zeros(0), found)[1]

    def _objective(
        self, batch: OptimizerBatch, found: Mapping[str, Values], leaves: Mapping[str, Tensor], step: int
    ) -> tuple[list[Tensor], dict[str, float], dict[str, dict[str, float]]]:
        """Every term's share of the batch's objective, as functions of the leaves; metrics; the coupled losses' next state."""
        shares: list[Tensor] = []
        metrics: dict[str, float] = {}
        state = dict(self.state)
        for bound in self.terms:
            name, numbers = bound.term.stream, batch.examples[bound.term.stream]
            local = {sequence: place for place, sequence in enumerate(found[name])}
            examples = Examples(self.streams[name], numbers, local, self.quantities)
            draws = uniforms(len(numbers), "loss", self.seed, step)
            term = evaluate_term(bound, examples, leaves[name], Batchwise(state.get(bound.term.loss, {}), draws))
            self._refuse_not_finite(term.losses, examples)
            if term.state:
                state[bound.term.loss] = dict(term.state)
            metrics |= term.metrics
            kept = bound.term.reduction == "kept_mean"
            divisor = term.kept if kept else normaliser(bound.term, self.streams[name], numbers)
            shares.append(bound.term.coefficient * term.total / divisor)
        return shares, metrics, state

    def _slopes(
        self, total: Tensor, found: Mapping[str, Values], leaves: Mapping[str, Tensor]
    ) -> dict[str, dict[int, list[float]]]:
        """d objective / d quantity of every sequence."""
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        slopes = {}
        for (name, values), gradient in zip(found.items(), gradients, strict=True):
            each = torch.zeros_like(leaves[name]) if gradient is None else gradient
            slopes[name] = dict(zip(values, each.T.tolist(), strict=True))
        return slopes

    def _backward(self, micros: Sequence[MicroBatch], part: Part) -> None:
        """Back-propagate every micro-batch's part; a turn that does not count has weight zero."""
        turns = self._turns(micros)
        for number, (micro, counts) in enumerate(turns, 1):
            self.before_micro_batch()
            packed = pack(micro.groups).to(self.device)
            with self.no_sync() if number < len(turns) else nullcontext():
                values = self.module(packed)
                value = part(micro, values, packed) if counts else values.sum() * 0
                (value * self.world).backward()  # data-parallel wrappers average over processes; the objective is a sum

    def _turns(self, micros: Sequence[MicroBatch]) -> list[tuple[MicroBatch, bool]]:
        """Every process takes every world-th micro-batch, and as many turns as the others: wrappers talk in each. One that runs
        out repeats the first, which does not count."""
        mine, rounds = micros[self.rank :: self.world], -(-len(micros) // self.world)
        return [(mine[turn], True) if turn < len(mine) else (micros[0], False) for turn in range(rounds)]

    def _examples_in(self, batch: OptimizerBatch, name: str, sequences: Sequence[int]) -> Examples:
        """The batch's examples whose sequences are all in this micro-batch. Roles of an example share a prompt, so none is split."""
        stream, numbers = self.streams[name], batch.examples[name]
        local = {sequence: place for place, sequence in enumerate(sequences)}
        role = next(role for bound in self.terms if bound.term.stream == name for role in bound.term.roles.values())
        first = stream.roles[role][numbers].reshape(len(numbers), -1)[:, 0]
        inside = np.array([int(sequence) in local for sequence in first], dtype=bool)
        return Examples(stream, numbers[inside], local, self.quantities)

    def _refuse_not_finite(self, losses: Tensor, examples: Examples) -> None:
        bad = ~torch.isfinite(losses.detach())
        if bool(bad.any()):
            ids = [examples.stream.ids[examples.numbers[place]] for place in bad.nonzero()[:, 0].tolist()[:5]]
            raise NotFinite(
                f"the loss is not finite for {int(bad.sum())} examples, first {', '.join(ids)}. "
                "Lower the learning rate, look at these rows, or use float32."
            )

    def _gathered(self, shares: Tensor, found: dict[str, Values]) -> tuple[list[float], dict[str, Values]]:
        """The sums of the processes' `shares`, and what they found together."""
        if self.world == 1:
            return shares.tolist(), found
        parts: list[tuple[list[float], dict[str, Values]]] = [([], {})] * self.world
        torch.distributed.all_gather_object(parts, (shares.tolist(), found))
        merged: dict[str, Values] = {name: {} for name in found}
        for _, each in parts:
            for name, values in each.items():
                merged[name].update(values)
        ordered = {name: dict(sorted(values.items())) for name, values in merged.items()}
        return [sum(each) for each in zip(*(values for values, _ in parts), strict=True)], ordered


def share_metrics(terms: Sequence[BoundTerm], shares: Sequence[float]) -> dict[str, float]:
    """What every term adds to the objective, as `loss_<function>`, where there are several."""
    if len(terms) < 2:
        return {}
    names = [bound.term.loss.rpartition(":")[2] for bound in terms]
    twice = [names.count(name) > 1 for name in names]
    shown = [
        f"loss_{name}_{bound.term.stream}" if again else f"loss_{name}"
        for name, again, bound in zip(names, twice, terms, strict=True)
    ]
    return dict(zip(shown, shares, strict=True))


def by_sequence(packed: PackedBatch, values: Tensor) -> Values:
    """The quantities of each sequence of a packed batch, from [Q, S]."""
    return dict(zip(packed.indices, map(tuple, values.detach().double().T.tolist()), strict=True))


def _where(units: Sequence[list[int]], slopes: Mapping[int, list[float]]) -> list[list[int]]:
    """The sequences that the objective depends on."""
    return [unit for unit in units if any(slopes[unit[0]])]
