"""The training loop: for every optimizer step the exact gradient of its batch, a clip, a step, a line of metrics.

State is explicit (parameters, optimizer, scheduler, RNG, position, the metrics so far) and checkpointed atomically; a
killed run continues from its last checkpoint and ends bit-identical on a CPU.
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from preflow.models.sequence_logps import SequenceLogps
from preflow.settings.train import TrainSettings
from preflow.training.checkpoints import load_checkpoint, save_checkpoint
from preflow.training.gradient import GradientEngine, NotFinite, OptimizerBatch
from preflow.training.metrics import step_metrics
from preflow.training.objectives import BoundTerm
from preflow.training.optimizer import clip_gradients, make_optimizer, make_scheduler
from preflow.training.order import Schedule
from preflow.training.policy import trained_parameters
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
    """Trains `policy` on `streams` with the objective `terms`. `run` returns whether it came to the end."""

    def __init__(
        self,
        policy: nn.Module,
        streams: dict[str, Stream],
        terms: tuple[BoundTerm, ...],
        settings: TrainSettings,
        *,
        checkpoints: Path,
        observer: Observer,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.policy, self.streams, self.settings, self.observer = policy, streams, settings, observer
        self.folder, self.should_stop = checkpoints, should_stop
        self.accelerator = Accelerator(mixed_precision="no")
        self.schedules = {
            name: Schedule(len(stream), settings.batch_size, settings.epochs, settings.max_steps, settings.seed)
            for name, stream in streams.items()
        }
        self.schedule = next(iter(self.schedules.values()))  # the first stream's epochs count; others go around
        self.parameters = trained_parameters(policy)
        optimizer = make_optimizer(self.parameters.values(), settings)
        self.module, self.optimizer = self.accelerator.prepare(SequenceLogps(policy), optimizer)
        self.scheduler = make_scheduler(self.optimizer, settings, self.schedule.total_steps)
        self.engine = GradientEngine(
            self.module,
            streams,
            terms,
            micro_batch_tokens=settings.micro_batch_tokens,
            device=self.accelerator.device,
            no_sync=lambda: self.accelerator.no_sync(self.module),
            before_micro_batch=self._leave_if_asked,
        )
        self.beta = float(terms[0].term.arguments.get("beta", 1.0))

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
        numbers = {name: schedule.batch(step) for name, schedule in self.schedules.items()}
        result = self.engine.accumulate(OptimizerBatch(numbers))
        norm = clip_gradients(self.parameters.values(), self.settings.max_grad_norm)
        self._refuse_not_finite(norm, step, numbers)
        rate = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        seconds = time.monotonic() - started
        examples = len(next(iter(numbers.values())))
        values = step_metrics(result, self.streams, numbers, self.beta) | {
            "train/grad_norm": norm,
            "train/learning_rate": float(rate),
            "train/examples_per_second": examples / seconds,
            "train/beta_equivalent": self.beta,
        }
        if self.accelerator.is_main_process:
            self.observer.metrics(values, step=step + 1)
            self.observer.progress(step + 1, self.schedule.total_steps, "steps", f"loss {result.loss:.4f}")
            self.observer.log(
                f"step {step + 1}/{self.schedule.total_steps} loss {result.loss:.6f} grad_norm {norm:.4f} {seconds:.2f}s"
            )

    def _refuse_not_finite(self, norm: float, step: int, numbers: Mapping[str, np.ndarray]) -> None:
        """Before the step is taken: a NaN among the gradients would make every weight NaN."""
        if not math.isfinite(norm):
            ids = [self.streams[name].ids[number] for name, batch in numbers.items() for number in batch[:5]]
            raise NotFinite(
                f"the gradient of step {step + 1} is not finite (norm {norm}); its batch begins with {', '.join(ids)}. "
                "Expected a number. Lower the learning rate, look at these rows, or use float32."
            )

    def _leave_if_asked(self) -> None:
        if self.should_stop():
            raise _StopRequested

    def _save(self, step: int) -> None:
        if self.accelerator.is_main_process:
            state = {"metrics": self.observer.metric_points}
            save_checkpoint(self.folder, step, self.parameters, self.optimizer.optimizer, self.scheduler, state)
            self.observer.log(f"checkpoint at step {step}")
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        found = load_checkpoint(self.folder, self.parameters, self.optimizer.optimizer, self.scheduler)
        if found is None:
            return 0
        step, state = found
        self.observer.restore_metrics(state["metrics"])
        self.observer.log(f"resumed at step {step}")
        return step


def use_deterministic_algorithms() -> None:
    """Where torch has a deterministic algorithm it is taken, so that a resumed run ends bit-identical."""
    torch.use_deterministic_algorithms(True, warn_only=True)
