"""Which examples make up which optimizer step: a shuffle per epoch, keyed by (seed, epoch)."""

from dataclasses import dataclass

import numpy as np


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

    def batch(self, step: int) -> np.ndarray:
        """Example numbers of optimizer step `step` (from 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_examples)
        return order[place * self.batch_size : (place + 1) * self.batch_size]
