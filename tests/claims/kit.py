"""What a demonstration of a paper's claim is, where all of them are found, and two ways to train tiny things."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
NOT_CLAIMS = {"kit", "worlds", "language", "write", "test_claims"}


@dataclass(frozen=True)
class Claim:
    """One claim in one sentence, against its baseline.

    `measured` holds the numbers of the method and of the baseline, `threshold` says in words what the constants of the
    module demand (they were written before the first run), and `holds` whether the numbers meet it.
    """

    method: str
    claim: str
    baseline: str
    measured: dict[str, float]
    threshold: str
    holds: bool

    @property
    def numbers(self) -> str:
        return "; ".join(f"{name} {value:.3g}" for name, value in self.measured.items())

    @property
    def verdict(self) -> str:
        return "reproduced" if self.holds else f"not reproduced at this scale: {self.numbers}"


def claim_names() -> list[str]:
    """The methods that have a demonstration, in alphabetical order: a module each."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_CLAIMS)


def demonstrate(method: str) -> Claim:
    """Run one, from nothing: on one thread, with its own seeds."""
    torch.set_num_threads(1)
    return importlib.import_module(f"claims.{method}").claim()


def minimise(
    parameters: Sequence[Tensor], loss: Callable[[], Tensor], *, steps: int, learning_rate: float, decay: bool = True
) -> None:
    """Adam; the learning rate falls linearly to 0 unless told otherwise. The parameters change in place."""
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    for step in range(steps):
        if decay:
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def converge(parameters: Sequence[Tensor], loss: Callable[[], Tensor], *, iterations: int = 300) -> None:
    """L-BFGS to the minimum of a smooth loss, without noise. The parameters change in place."""
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=iterations, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def zeros(*shape: int) -> Tensor:
    """Parameters, float64, all 0."""
    return torch.zeros(*shape, dtype=torch.float64, requires_grad=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the sum of absolute differences of two distributions over the last dimension, the mean over the others."""
    return 0.5 * (p - q).abs().sum(-1).mean().item()


def at_kl(points: Sequence[tuple[float, float]], kl: float) -> float:
    """The reward of a frontier of (KL, reward) points at a KL between them, linearly."""
    kls, rewards = zip(*sorted(points), strict=True)
    return float(np.interp(kl, kls, rewards))


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
