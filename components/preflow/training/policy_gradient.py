"""The exact gradient of a batch of completions from a rollout: every mean is over the whole optimizer batch, whatever the
micro-batches, their order and the number of processes."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from preflow.losses.advantages import kl_estimates
from preflow.losses.policy_gradient import clipped_surrogate, ratios_to_sampler
from preflow.losses.value import clipped_value
from preflow.models.packing import PackedBatch, PromptGroup, cut_by_tokens, groups_of, pack
from preflow.models.sequence_logps import sums_of_sequences
from preflow.settings.rl import RLSettings
from preflow.training.gradient import GradientEngine, MicroBatch, NoSync, NotFinite
from preflow.training.rollouts import Rollout

Prompts = Sequence[Sequence[int]]
SUMS = ("policy_loss", "value_loss", "kl_loss", "approx_kl", "clip_fraction_low", "clip_fraction_high")


@dataclass(frozen=True)
class Update:
    """What an optimizer batch gave, as means: losses in units of the score, `approx_kl` in nats per token."""

    loss: float
    means: dict[str, float]

    @property
    def approx_kl(self) -> float:
        """KL(sampler || policy) by k3: how far the policy has moved since it sampled."""
        return self.means["approx_kl"]


class RolloutEngine(GradientEngine):
    """Accumulates the gradient of PPO's, RLOO's or GRPO's objective. `module(batch)` gives [Q, N], see `TokenNumbers`."""

    def __init__(
        self,
        module: nn.Module,
        prompts: Prompts,
        settings: RLSettings,
        *,
        device: torch.device,
        no_sync: NoSync = nullcontext,
        before_micro_batch: Callable[[], None] = lambda: None,
    ):
        super().__init__(
            module,
            {},
            (),
            micro_batch_tokens=settings.micro_batch_tokens,
            device=device,
            no_sync=no_sync,
            before_micro_batch=before_micro_batch,
        )
        self.prompts, self.settings = prompts, settings

    def update(self, rollout: Rollout, rows: np.ndarray, beta: float) -> Update:
        """Back-propagate the objective over the completions `rows`. Raises NotFinite."""
        tokens = float(rollout.lengths[rows].sum())
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=self.device)

        def part(micro: MicroBatch, values: Tensor, packed: PackedBatch) -> Tensor:
            terms, seen = self._terms(rollout, values, packed, beta, len(rows), tokens)
            value = torch.stack(terms).sum()
            if not bool(torch.isfinite(value)):
                raise NotFinite(
                    f"the loss is not finite for completions {list(packed.indices)[:5]} of the rollout. Lower the learning "
                    "rate, look at the scores, or use float32."
                )
            sums.add_(torch.stack([each.detach().double() for each in (*terms, *seen)]))
            return value

        self._backward(rollout_micros(rollout, self.prompts, rows, self.micro_batch_tokens), part)
        if self.world > 1:
            torch.distributed.all_reduce(sums)
        means = dict(zip(SUMS, sums.tolist(), strict=True))
        return Update(sum(means[name] for name in SUMS[:3]), means)

    def _terms(
        self, rollout: Rollout, values: Tensor, packed: PackedBatch, beta: float, size: int, tokens: float
    ) -> tuple[list[Tensor], list[Tensor]]:
        """([policy, value and KL loss], [k3 to the sampler, clipped below, clipped above]): this part's shares of the means."""
        settings, logps = self.settings, values[0]
        old, reference, old_values, advantages, returns = (
            flat_tokens(each, packed).to(logps)
            for each in (
                rollout.sampler_logps, rollout.reference_logps, rollout.values, rollout.advantages, rollout.returns
            )
        )  # fmt: skip
        none = logps.sum() * 0
        with torch.no_grad():
            ratios = ratios_to_sampler(logps, old)
            share, moved = 1 / tokens, ratios - 1 - (logps - old)
            if settings.algorithm == "rloo":
                ratios, advantages, share = self._per_sequence(logps, old, advantages, packed, size)
            low = ((ratios < 1 - settings.clip) & (advantages < 0)).double().sum() * share
            high = ((ratios > 1 + settings.clip) & (advantages > 0)).double().sum() * share
            seen = [moved.sum() / tokens, low, high]
        if settings.algorithm == "rloo":
            new, before = (sums_of_sequences(each[None], packed)[0] for each in (logps, old))
            losses = clipped_surrogate(new, before, advantages, epsilon=settings.clip)
            return [losses.sum() / size, none, none], seen
        losses = clipped_surrogate(logps, old, advantages, epsilon=settings.clip)
        if settings.algorithm == "ppo":
            of_value = clipped_value(values[1], old_values, returns, epsilon=settings.value_clip)
            return [losses.sum() / tokens, of_value.sum() / tokens, none], seen
        weights = self._weights(packed, size, tokens).to(losses)
        penalty = beta * kl_estimates(logps, reference)[2]
        return [(weights * losses).sum(), none, (weights * penalty).sum()], seen

    def _per_sequence(
        self, logps: Tensor, old: Tensor, advantages: Tensor, packed: PackedBatch, size: int
    ) -> tuple[Tensor, Tensor, float]:
        """Ratios and advantages [S] of whole completions, and what one of them weighs in a mean."""
        new, before = (sums_of_sequences(each[None], packed)[0] for each in (logps, old))
        starts = torch.cat([packed.sequences.new_zeros(1), packed.sequences.bincount().cumsum(0)[:-1]])
        return ratios_to_sampler(new, before), advantages[starts], 1 / size

    def _weights(self, packed: PackedBatch, size: int, tokens: float) -> Tensor:
        """[N]: what each token weighs in GRPO's mean."""
        if self.settings.token_mean == "batch":
            return torch.full_like(packed.sequences, 1, dtype=torch.float64) / tokens
        return 1 / (size * packed.sequences.bincount().double())[packed.sequences]


def rollout_micros(rollout: Rollout, prompts: Prompts, rows: np.ndarray, budget: int) -> list[MicroBatch]:
    """Micro-batches of the completions `rows`; those of one prompt share its row while there is room."""
    by_prompt: dict[int, list[list[int]]] = {}
    for row in rows.tolist():
        by_prompt.setdefault(int(rollout.prompts[row]), []).append([row])
    groups: list[PromptGroup] = [
        group
        for prompt, units in by_prompt.items()
        for group in groups_of(prompts[prompt], units, rollout.completion, budget)
    ]
    return [MicroBatch("rollout", cut) for cut in cut_by_tokens(groups, budget)]


def flat_tokens(padded: Tensor, packed: PackedBatch) -> Tensor:
    """[N] from [rows of the rollout, T]: the numbers of a packed batch's tokens, sequence after sequence."""
    sequences = packed.sequences.cpu()
    counts = sequences.bincount(minlength=len(packed.indices))
    places = torch.arange(len(sequences)) - (counts.cumsum(0) - counts)[sequences]
    return padded[torch.tensor(packed.indices)[sequences], places].to(packed.sequences.device)


def padded_tokens(flat: Tensor, packed: PackedBatch, target: Tensor) -> None:
    """The other way round: write the numbers of a packed batch's tokens into `target` [rows of the rollout, T]."""
    sequences = packed.sequences.cpu()
    counts = sequences.bincount(minlength=len(packed.indices))
    places = torch.arange(len(sequences)) - (counts.cumsum(0) - counts)[sequences]
    target[torch.tensor(packed.indices)[sequences], places] = flat.to(target)


@torch.no_grad()
def measured(
    module: Callable[[PackedBatch], Tensor], micros: Sequence[MicroBatch], shape: torch.Size, device: torch.device
) -> list[Tensor]:
    """A module's numbers [Q, N] of every micro-batch, each quantity as [rows of the rollout, T], zero outside of completions."""
    found: list[Tensor] = []
    for micro in micros:
        packed = pack(micro.groups).to(device)
        numbers = module(packed)
        if not found:
            found = [torch.zeros(shape, dtype=numbers.dtype) for _ in numbers]
        for each, target in zip(numbers, found, strict=True):
            padded_tokens(each.cpu(), packed, target)
    return found
