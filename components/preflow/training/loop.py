"""The training loop: for every optimizer step the exact gradient of its batch, a clip, a step, a line of metrics.

State is explicit (parameters, optimizer, scheduler, RNG, position, the metrics so far) and checkpointed atomically; a
killed run continues from its last checkpoint and ends bit-identical on a CPU.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from preflow.models.rewards import SequenceRewards
from preflow.models.sequence_logps import SequenceLogps
from preflow.models.values import SequencesWithValues
from preflow.settings.train import TrainSettings
from preflow.training.checkpoints import load_checkpoint, save_checkpoint
from preflow.training.gradient import GradientEngine, NotFinite, OptimizerBatch
from preflow.training.metrics import step_metrics
from preflow.training.objectives import BoundTerm
from preflow.training.optimizer import clip_gradients, make_optimizer, make_scheduler
from preflow.training.order import Schedule
from preflow.training.parallel import any_of_us, gather, in_shards, make_accelerator, shard
from preflow.training.streams import Stream


class Observer(Protocol):
    """What the loop tells: a step of the kit, or a test."""

    def progress(self, done: int, total: int | None, unit: str = ..., note: str = ...) -> None: ...
    def metrics(self, values: Mapping[str, float], step: int = ...) -> None: ...
    def restore_metrics(self, points: list[dict[str, Any]]) -> None: ...
    def log(self, text: str) -> None: ...
    @property
    def metric_points(self) -> list[dict[str, Any]]: ...


class _StopRequested(Exception):
    """Between two micro-batches: the parameters are those of the last optimizer step."""


class Trainer:
    """Trains `module` on `streams` with the objective `terms`; the first stream sets the pace. `run` returns whether it
    came to the end.

    `trained` holds the parameters to train by name, `value` those of a value network. `before_batch` is told the rows of
    the coming step, for streams whose roles depend on the order; `saved` of the step of a checkpoint that is written.
    """

    def __init__(
        self,
        module: SequenceLogps | SequencesWithValues | SequenceRewards,
        streams: dict[str, Stream],
        terms: tuple[BoundTerm, ...],
        settings: TrainSettings,
        *,
        trained: Mapping[str, nn.Parameter],
        value: Mapping[str, nn.Parameter] = MappingProxyType({}),
        checkpoints: Path,
        observer: Observer,
        saved: Callable[[int], None] = lambda step: None,
        should_stop: Callable[[], bool] = lambda: False,
        before_batch: Callable[[np.ndarray, np.ndarray], None] = lambda numbers, order: None,
    ):
        self.streams, self.settings, self.observer = streams, settings, observer
        self.folder, self.saved = checkpoints, saved
        self._latest: int | None = None
        self.should_stop, self.before_batch = should_stop, before_batch
        self.accelerator = make_accelerator()
        first = next(iter(streams.values()))
        number = first.num_examples
        self.schedule = Schedule(number, settings.batch_size, settings.epochs, settings.max_steps, settings.seed)
        self.quantities = module.quantities
        self._prepare(module, dict(trained), dict(value))
        self.scheduler = make_scheduler(self.optimizer, settings, self.schedule.total_steps)
        self.engine = GradientEngine(
            self.module,
            streams,
            terms,
            micro_batch_tokens=settings.micro_batch_tokens,
            device=self.accelerator.device,
            quantities=self.quantities,
            seed=settings.seed,
            no_sync=nullcontext if self.sharded else lambda: self.accelerator.no_sync(self.module),
            before_micro_batch=self._leave_if_asked,
        )

    def _prepare(self, module: nn.Module, trained: dict[str, nn.Parameter], value: dict[str, nn.Parameter]) -> None:
        """The module, its parameters and their optimizer as this process, of perhaps several, holds them."""
        self.sharded = in_shards(self.settings)
        if self.sharded:
            parameters = shard(module, trained | value, self.accelerator.device)
            trained, value = ({name: parameters[name] for name in group} for group in (trained, value))
        self.trained, self.value = trained, value
        rate = self.settings.value_learning_rate
        self.optimizer = make_optimizer(trained.values(), self.settings, value.values(), rate)
        self.module = module if self.sharded else self.accelerator.prepare(module)

    def gather(self) -> None:
        """Training is over: the first process's module has all weights, to be published; the others' are of no more use."""
        if self.sharded:
            gather(self.module)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All that is trained, by name."""
        return self.trained | self.value

    def run(self) -> bool:
        """Train to the end; False if it was asked to stop, with everything saved."""
        step, total = self._resume(), self.schedule.total_steps
        self.observer.progress(step, total, "steps")
        try:
            while step < total:
                self._leave_if_asked()
                self._step(step)
                step += 1
                if step % self.settings.checkpoint_steps == 0 and step < total:
                    self._save(step)
        except _StopRequested:
            self._save(step)
            self.observer.log(f"stopped after step {step}; a checkpoint is saved")
            return False
        return True

    def _step(self, step: int) -> None:
        started = time.monotonic()
        numbers = self._rows(step)
        result = self.engine.accumulate(OptimizerBatch(numbers), step)
        norms = self._clip()
        self._refuse_not_finite(norms, step, numbers)
        rate = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        seconds = time.monotonic() - started
        examples = len(self.schedule.batch(step))
        beta = self.settings.beta_equivalent
        values = (
            step_metrics(result, self.streams, numbers, self.quantities, beta or 1.0)
            | norms
            | {
                "train/learning_rate": float(rate),
                "train/examples_per_second": examples / seconds,
            }
            | ({} if beta is None else {"train/beta_equivalent": beta})
        )
        if self.accelerator.is_main_process:
            self.observer.metrics(values, step=step + 1)
            self.observer.progress(step + 1, self.schedule.total_steps, "steps", f"loss {result.loss:.4f}")
            norm = norms["train/grad_norm"]
            self.observer.log(
                f"step {step + 1}/{self.schedule.total_steps} loss {result.loss:.6f} grad_norm {norm:.4f} {seconds:.2f}s"
            )

    def _rows(self, step: int) -> dict[str, np.ndarray]:
        """The rows of a step: of the first stream those of its batch, of another one as many examples."""
        first, *others = self.streams
        rows = {first: self.streams[first].rows_of(self.schedule.batch(step))}
        for name in others:
            other = self.streams[name]
            rows[name] = other.rows_of(self.schedule.companions(step, other.num_examples))
        self.before_batch(rows[first], self.streams[first].rows_of(self.schedule.epoch_order(step)))
        return rows

    def _clip(self) -> dict[str, float]:
        """The policy and the value network are clipped apart: one must not scale down the other."""
        norms = {"train/grad_norm": clip_gradients(self.trained.values(), self.settings.max_grad_norm)}
        if self.value:
            norms["train/value_grad_norm"] = clip_gradients(self.value.values(), self.settings.max_grad_norm)
        return norms

    def _refuse_not_finite(self, norms: Mapping[str, float], step: int, numbers: Mapping[str, np.ndarray]) -> None:
        """Before the step is taken: a NaN among the gradients would make every weight NaN."""
        if not all(math.isfinite(norm) for norm in norms.values()):
            ids = [self.streams[name].ids[number] for name, batch in numbers.items() for number in batch[:5]]
            raise NotFinite(
                f"the gradient of step {step + 1} is not finite ({dict(norms)}); its batch begins with {', '.join(ids)}. "
                "Expected a number. Lower the learning rate, look at these rows, or use float32."
            )

    def _leave_if_asked(self) -> None:
        if any_of_us(self.should_stop(), self.accelerator.device):
            raise _StopRequested

    def _save(self, step: int) -> None:
        if step == self._latest:  # asked to stop right after a checkpoint: all is there, and time is short
            return
        self._latest = step
        state = {"metrics": self.observer.metric_points, "losses": self.engine.state}
        save_checkpoint(self.folder, step, self.parameters, self.optimizer, self.scheduler, state)
        if self.accelerator.is_main_process:
            self.observer.log(f"checkpoint at step {step}")
            self.saved(step)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        self.accelerator.wait_for_everyone()  # for the first one, which fetches checkpoints
        found = load_checkpoint(self.folder, self.parameters, self.optimizer, self.scheduler)
        if found is None:
            return 0
        step, state = found
        self._latest = step
        self.observer.restore_metrics(state["metrics"])
        self.engine.state = state["losses"]
        self.observer.log(f"resumed at step {step}")
        return step


def use_deterministic_algorithms() -> None:
    """Where torch has a deterministic algorithm it is taken, so that a resumed run ends bit-identical."""
    torch.use_deterministic_algorithms(True, warn_only=True)
