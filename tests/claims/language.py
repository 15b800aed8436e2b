"""A tiny language model: a softmax over words whose logits are linear in fixed random features of prompt and prefix.

Prefixes that share most of their words share most of their features, which is what makes sequences of one text pull on
each other, as in a network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from claims.kit import generator, minimise, zeros

WORDS, LENGTH, PROMPTS = 24, 10, 16
WIDTH, FADING = 256, 0.8


@dataclass(frozen=True)
class Texts:
    """Sequences of words [N, LENGTH] and the features [N, LENGTH, WIDTH] of the prefix before every word."""

    words: Tensor
    features: Tensor

    def distributions(self, theta: Tensor) -> Tensor:
        """Log-probs [N, LENGTH, WORDS] of every word at every place, nats."""
        return (self.features @ theta).log_softmax(-1)

    def token_logps(self, theta: Tensor) -> Tensor:
        """[N, LENGTH] nats."""
        return self.distributions(theta).gather(-1, self.words[..., None])[..., 0]

    def logps(self, theta: Tensor) -> Tensor:
        """[N] nats, summed over the words."""
        return self.token_logps(theta).sum(1)

    def kls(self, reference: Tensor, theta: Tensor) -> Tensor:
        """[N] nats: the sum over the words of KL(reference || policy), along the sequences themselves."""
        of_reference = self.distributions(reference)
        return (of_reference.exp() * (of_reference - self.distributions(theta))).sum((1, 2))


class Language:
    """The fixed random features of one seed."""

    def __init__(self, seed: int):
        random = generator(seed)
        self.random = random

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64)

        self.prompt_vectors, self.word_vectors, self.places = normal(PROMPTS, 32), normal(WORDS, 32), normal(LENGTH, 32)
        self.mixing = normal(32 * 4, WIDTH) / (32 * 4) ** 0.5

    def write(self, count: int) -> Tensor:
        """Random sequences of words [count, LENGTH]."""
        return torch.randint(WORDS, (count, LENGTH), generator=self.random)

    def edited(self, words: Tensor, place: int) -> Tensor:
        """The same sequences with another word at one place."""
        changed = words.clone()
        other = torch.randint(1, WORDS, (len(words),), generator=self.random)
        changed[:, place] = (changed[:, place] + other) % WORDS
        return changed

    def texts(self, prompts: Tensor, words: Tensor) -> Texts:
        """Sequences [N, LENGTH] after prompts [N]. A prefix is its prompt, its place, its last word and the fading
        memory of all its words."""
        vectors = self.word_vectors[words]
        memory, last, contexts = torch.zeros_like(vectors[:, 0]), torch.zeros_like(vectors[:, 0]), []
        for place in range(LENGTH):
            here = self.places[place].expand_as(last)
            contexts.append(torch.cat([self.prompt_vectors[prompts], here, last, memory], 1))
            last = vectors[:, place]
            memory = FADING * memory + last
        return Texts(words, torch.tanh(torch.stack(contexts, 1) @ self.mixing))


def memorised(*texts: Texts, steps: int = 150, learning_rate: float = 0.05) -> Tensor:
    """theta [WIDTH, WORDS] after supervised training on the sequences, detached: a reference."""
    theta = zeros(WIDTH, WORDS)
    minimise(
        [theta],
        lambda: -torch.stack([each.token_logps(theta).mean() for each in texts]).mean(),
        steps=steps,
        learning_rate=learning_rate,
    )
    return theta.detach()
