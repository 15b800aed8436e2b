"""Which examples make up which optimizer step: a shuffle per epoch, keyed by (seed, epoch)."""

from dataclasses import dataclass

import numpy as np

from preflow.artifacts.draws import generator


@dataclass(frozen=True)
class Schedule:
    """The steps of a training run over `num_examples` examples; the last batch of an epoch may be smaller."""

    num_examples: int
    batch_size: int
    epochs: int
    max_steps: int | None
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_examples // self.batch_size)

    @property
    def total_steps(self) -> int:
        whole = self.steps_per_epoch * self.epochs
        return whole if self.max_steps is None else min(self.max_steps, whole)

    def epoch_order(self, step: int) -> np.ndarray:
        """All example numbers in the order of the epoch that step `step` (from 0) belongs to."""
        return np.random.default_rng([self.seed, step // self.steps_per_epoch]).permutation(self.num_examples)

    def batch(self, step: int) -> np.ndarray:
        """Example numbers of optimizer step `step` (from 0)."""
        start = step % self.steps_per_epoch * self.batch_size
        return self.epoch_order(step)[start : start + self.batch_size]

    def companions(self, step: int, num_companions: int) -> np.ndarray:
        """Rows of another stream that go along with `batch(step)`, one for each: drawn afresh in every epoch, each as often
        as the other rows (NPO pairs a forget row with a fresh retain row)."""
        epoch, start = step // self.steps_per_epoch, step % self.steps_per_epoch * self.batch_size
        rounds = -(-self.num_examples // num_companions)
        order = np.concatenate(
            [generator("companions", self.seed, epoch, turn).permutation(num_companions) for turn in range(rounds)]
        )
        return order[start : start + len(self.batch(step))]
