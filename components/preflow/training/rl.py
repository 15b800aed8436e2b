"""Reinforcement learning: sample a rollout, train on it for some passes, sample again.

State is explicit (parameters, optimizer, scheduler, RNG, the KL controller's beta, the rollout at hand and the place in it)
and checkpointed atomically; draws are keyed by (seed, rollout), so a killed run ends bit-identical on a CPU.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from accelerate import Accelerator
from torch import nn

from preflow.artifacts.draws import generator
from preflow.models.values import TokenNumbers
from preflow.settings.rl import RLSettings
from preflow.training.checkpoints import load_checkpoint, load_more, save_checkpoint
from preflow.training.loop import Observer
from preflow.training.optimizer import clip_gradients, make_optimizer, make_scheduler
from preflow.training.policy_gradient import Prompts, RolloutEngine, Update
from preflow.training.rollouts import Rollout, mean_kl, next_beta, rollout_metrics, with_advantages


class StopRequested(Exception):
    """The parameters are those of the last optimizer step, the rollout is whole or not there."""


class RLTrainer:
    """Trains the policy of `module`. `collect` makes the rollout of a number; `prompts` are the token ids that its prompts'
    numbers mean. `trained` holds the policy's parameters by name, `value` those of a value network. `saved` is told the step of
    a checkpoint that is written."""

    def __init__(
        self,
        module: TokenNumbers,
        prompts: Prompts,
        collect: Callable[[int], Rollout],
        settings: RLSettings,
        *,
        trained: Mapping[str, nn.Parameter],
        value: Mapping[str, nn.Parameter] = MappingProxyType({}),
        checkpoints: Path,
        observer: Observer,
        saved: Callable[[int], None] = lambda step: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.collect, self.settings, self.observer = collect, settings, observer
        self.folder, self.saved, self.should_stop = checkpoints, saved, should_stop
        self.trained, self.value = dict(trained), dict(value)
        self.accelerator = Accelerator(mixed_precision="no")
        size = min(settings.prompts_per_rollout, len(prompts)) * settings.samples_per_prompt
        self.batches = -(-size // settings.batch_size)
        self.updates = self.batches * settings.epochs
        self.total = min(settings.rollouts * self.updates, settings.max_steps or settings.rollouts * self.updates)
        optimizer = make_optimizer(self.trained.values(), settings, self.value.values(), settings.value_learning_rate)
        self.module, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.scheduler = make_scheduler(self.optimizer, settings, self.total)
        self.engine = RolloutEngine(
            self.module,
            prompts,
            settings,
            device=self.accelerator.device,
            no_sync=lambda: self.accelerator.no_sync(self.module),
            before_micro_batch=self.leave_if_asked,
        )
        self.step, self.number, self.update, self.beta = 0, 0, 0, settings.beta
        self.rollout: Rollout | None = None

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All that is trained, by name."""
        return self.trained | self.value

    def run(self) -> bool:
        """Train to the end; False if it was asked to stop, with everything saved."""
        self._resume()
        self.observer.progress(self.step, self.total, "updates")
        try:
            while self.number < self.settings.rollouts and self.step < self.total:
                self.leave_if_asked()
                self._rollout()
        except StopRequested:
            self.optimizer.zero_grad(set_to_none=True)
            self._save()
            self.observer.log(f"stopped after update {self.step}; a checkpoint is saved")
            return False
        return True

    def leave_if_asked(self) -> None:
        """Raises StopRequested."""
        if self.should_stop():
            raise StopRequested

    def _rollout(self) -> None:
        if self.rollout is None:
            started = time.monotonic()
            self.rollout = with_advantages(self.collect(self.number), self.settings, self.beta)
            found = rollout_metrics(self.rollout, self.settings, self.beta)
            found["train/rollout_seconds"] = time.monotonic() - started
            self._tell(found, self.step + 1)
            self.observer.log(
                f"rollout {self.number + 1}/{self.settings.rollouts} score {found['train/score']:.4f} "
                f"kl {found['train/kl']:.4f} {found['train/rollout_seconds']:.1f}s"
            )
        while self.update < self.updates and self.step < self.total:
            self.leave_if_asked()
            if not self._train_on(self.rollout):
                break
        self.beta = next_beta(self.beta, mean_kl(self.rollout), self.settings)
        self.rollout, self.update, self.number = None, 0, self.number + 1

    def _train_on(self, rollout: Rollout) -> bool:
        """One optimizer step; False where the policy has moved too far from the one that sampled: then none is made."""
        started = time.monotonic()
        found = self.engine.update(rollout, self._rows(len(rollout)), self.beta)
        limit = self.settings.early_stop_kl
        if limit is not None and found.approx_kl > limit:
            self.optimizer.zero_grad(set_to_none=True)
            left = self.updates - self.update
            self.observer.log(f"KL to the sampler {found.approx_kl:.4f} per token: {left} updates left out")
            self._tell({"train/updates_left_out": float(left)}, max(1, self.step))
            return False
        norms = self._clip()
        rate = float(self.scheduler.get_last_lr()[0])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        self.step, self.update = self.step + 1, self.update + 1
        self._tell(update_metrics(found, self.settings) | norms | {"train/learning_rate": rate}, self.step)
        seconds = time.monotonic() - started
        self.observer.progress(self.step, self.total, "updates", f"loss {found.loss:.4f}")
        self.observer.log(f"update {self.step}/{self.total} loss {found.loss:.6f} {seconds:.2f}s")
        if self.step % self.settings.checkpoint_steps == 0 and self.step < self.total:
            self._save()
        return True

    def _rows(self, size: int) -> np.ndarray:
        """The completions of the coming update: a shuffle per pass, keyed by (seed, rollout, pass)."""
        turn, place = divmod(self.update, self.batches)
        order = generator("updates", self.settings.seed, self.number, turn).permutation(size)
        return order[place * self.settings.batch_size : (place + 1) * self.settings.batch_size]

    def _clip(self) -> dict[str, float]:
        norms = {"train/grad_norm": clip_gradients(self.trained.values(), self.settings.max_grad_norm)}
        if self.value:
            norms["train/value_grad_norm"] = clip_gradients(self.value.values(), self.settings.max_grad_norm)
        return norms

    def _tell(self, values: dict[str, float], step: int) -> None:
        if self.accelerator.is_main_process:
            self.observer.metrics(values, step=step)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            place = {"number": self.number, "update": self.update, "beta": self.beta}
            state = {**place, "metrics": self.observer.metric_points, "has_rollout": self.rollout is not None}
            more = self.rollout.tensors() if self.rollout is not None else {}
            save_checkpoint(
                self.folder, self.step, self.parameters, self.optimizer.optimizer, self.scheduler, state, more
            )
            self.observer.log(f"checkpoint at update {self.step}")
            self.saved(self.step)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        found = load_checkpoint(self.folder, self.parameters, self.optimizer.optimizer, self.scheduler)
        if found is None:
            return
        state: dict[str, Any]
        self.step, state = found
        self.number, self.update, self.beta = state["number"], state["update"], state["beta"]
        self.rollout = Rollout.of(load_more(self.folder, self.step)) if state["has_rollout"] else None
        self.observer.restore_metrics(state["metrics"])
        self.observer.log(f"resumed at update {self.step} of rollout {self.number + 1}")


def update_metrics(update: Update, settings: RLSettings) -> dict[str, float]:
    """An update's numbers under the names of the journal; those that its algorithm does not have are left out."""
    lacking = {"ppo": {"kl_loss"}, "rloo": {"kl_loss", "value_loss"}, "grpo": {"value_loss"}}[settings.algorithm]
    means = {name: value for name, value in update.means.items() if name not in lacking}
    clipped = means["clip_fraction_low"] + means["clip_fraction_high"]
    return {f"train/{name}": value for name, value in {"loss": update.loss, **means, "clip_fraction": clipped}.items()}
