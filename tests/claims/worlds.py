"""Small worlds with a known best policy: a bandit with features, and one prompt with a crowd of answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from claims.kit import generator

GOLD_SCALE = 1.5  # log-odds: the deviation of the gold reward over the responses of a prompt


class Pairs(NamedTuple):
    """Places [N] of the prompt, the chosen and the rejected response of every pair."""

    prompts: Tensor
    chosen: Tensor
    rejected: Tensor

    def of(self, logps: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs [N], [N] of chosen and rejected, from those of all responses [P, K]."""
        return logps[self.prompts, self.chosen], logps[self.prompts, self.rejected]

    def rows(self, places: Tensor) -> "Pairs":
        return Pairs(self.prompts[places], self.chosen[places], self.rejected[places])


PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Bandit:
    """P prompts, K responses each, of D features; the policy is softmax(log reference + features @ theta).

    The gold reward [P, K] is linear in the features, in log-odds of a Bradley-Terry annotator, so the best policy at
    every beta (reference * exp(gold / beta) / Z) is in the class: theta = weights / beta.
    """

    features: Tensor
    reference: Tensor
    gold: Tensor

    @classmethod
    def draw(cls, seed: int, prompts: int = 32, responses: int = 16, size: int = 8) -> "Bandit":
        random = generator(seed)
        features = torch.randn(prompts, responses, size, generator=random, dtype=torch.float64)
        weights = torch.randn(size, generator=random, dtype=torch.float64)
        own = torch.randn(prompts, responses, generator=random, dtype=torch.float64)
        return cls(features, own.log_softmax(-1), features @ (weights * GOLD_SCALE / weights.norm()))

    def half(self, second: bool) -> "Bandit":
        """The prompts to train on, or those held out."""
        cut = len(self.features) // 2
        part = slice(cut, None) if second else slice(cut)
        return Bandit(self.features[part], self.reference[part], self.gold[part])

    def logps(self, theta: Tensor) -> Tensor:
        """[P, K] nats."""
        return (self.reference + self.features @ theta).log_softmax(-1)

    def reward(self, theta: Tensor) -> float:
        """Expected gold reward under the policy, mean over the prompts."""
        return (self.logps(theta.detach()).exp() * self.gold).sum(-1).mean().item()

    def kl(self, theta: Tensor) -> float:
        """KL(policy || reference), nats, mean over the prompts."""
        logps = self.logps(theta.detach())
        return (logps.exp() * (logps - self.reference)).sum(-1).mean().item()

    def best(self, beta: float) -> Tensor:
        """Log-probs [P, K] of reference * exp(gold / beta) / Z."""
        return (self.reference + self.gold / beta).log_softmax(-1)

    def pairs(self, seed: int, count: int, sampler: Tensor | None = None, flips: float = 0.0) -> Pairs:
        """`count` pairs of different responses to random prompts, drawn by `sampler` [P, K] (log-probs, the reference's
        if not given), labelled by the annotator; a share `flips` of the labels is turned round."""
        random = generator(seed)
        probabilities = (self.reference if sampler is None else sampler).exp()
        prompts = torch.randint(len(self.features), (count,), generator=random)
        two = torch.multinomial(probabilities[prompts], 2, generator=random)
        gap = self.gold[prompts, two[:, 0]] - self.gold[prompts, two[:, 1]]
        first = torch.rand(count, generator=random, dtype=torch.float64) < gap.sigmoid()
        first ^= torch.rand(count, generator=random) < flips
        chosen = torch.where(first, two[:, 0], two[:, 1])
        return Pairs(prompts, chosen, two.sum(1) - chosen)

    def pair_loss(self, theta: Tensor, pairs: Pairs, loss: PairLoss, reference: Tensor | None = None) -> Tensor:
        """A loss with a reference (its log-probs [P, K]), [N], over the pairs."""
        sides = pairs.of(self.reference if reference is None else reference)
        return loss(*pairs.of(self.logps(theta)), *sides)


def crowd(seed: int, answers: int = 50, size: int = 8, closeness: float = 0.3) -> Tensor:
    """Features [answers, size] of one prompt's answers, policy softmax(features @ theta), uniform at theta = 0.

    Answer 0 is the chosen one; answer 1, the rejected, is nearly the same: its features differ by `closeness`.
    """
    random = generator(seed)
    features = torch.randn(answers, size, generator=random, dtype=torch.float64)
    features[1] = features[0] + closeness * torch.randn(size, generator=random, dtype=torch.float64)
    return features


def crowd_logps(features: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probs [1], [1] of the chosen and the rejected answer of a crowd."""
    logps = (features @ theta).log_softmax(-1)
    return logps[:1], logps[1:2]
