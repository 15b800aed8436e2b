"""A trained reward model at work: it has its own tokenizer and template, and is asked with messages and texts.

A scalar model gives a completion's Bradley-Terry reward, in log-odds. A pairwise one gives the log-odds that the first
of two completions is better; asked in both orders it makes a pointwise reward against a baseline (RSO, arXiv 2309.06657,
section 3.2).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from preflow.artifacts.ids import Message
from preflow.artifacts.manifest import read_manifest
from preflow.errors import ModelError, ScorerError
from preflow.models.judges import Judge, Prompts, Verdict
from preflow.models.load import device
from preflow.models.packing import PromptGroup
from preflow.models.rewards import TOKENIZER_FOLDER, Progress, load_reward_model, rewards_of
from preflow.text.comparison import Comparisons
from preflow.text.tokenizer import Tokenizer

Head = Literal["scalar", "pairwise"]
Pair = tuple[list[int], list[int]]


class Answer(NamedTuple):
    """A completion of a prompt; one that is not finished was cut at the limit, and has no end token."""

    prompt: Sequence[Message]
    text: str
    finished: bool = True


class RewardModel:
    """The reward model of a folder that `train_reward_model` wrote. Raises ModelError for another folder."""

    def __init__(self, folder: str | Path, dtype: str = "float32", micro_batch_tokens: int = 4096):
        module, about = load_reward_model(folder, dtype)
        self.module, self.device = module.to(device()), device()
        self.head: Head = about["head"]
        self.digest = read_manifest(folder).digest
        self.tokenizer = Tokenizer.load(Path(folder) / TOKENIZER_FOLDER)
        self.micro_batch_tokens = micro_batch_tokens
        self.comparisons = Comparisons.of(self.tokenizer, about["template"]) if "template" in about else None

    def rewards(self, answers: Sequence[Answer], progress: Progress = lambda done, total: None) -> list[float]:
        """The reward of every answer, log-odds. Raises ModelError for a pairwise model, ScorerError for a NaN."""
        if self.head != "scalar":
            raise ModelError(
                "a pairwise reward model compares two texts: it has no reward of one. Train a scalar head."
            )
        return self._ask(self._tokenized(answers), progress)

    def first_wins(
        self, pairs: Sequence[tuple[Answer, Answer]], progress: Progress = lambda done, total: None
    ) -> list[float]:
        """The log-odds that the first of two answers to a prompt is better, in this order. Of a scalar model: the
        difference of their rewards."""
        if self.comparisons is None:
            rewards = self.rewards([answer for pair in pairs for answer in pair], progress)
            return [first - second for first, second in zip(rewards[::2], rewards[1::2], strict=True)]
        firsts, seconds = (self._tokenized([pair[place] for pair in pairs]) for place in (0, 1))
        found = [
            self.comparisons.sequence(prompt, first, second)
            for (prompt, first), (_, second) in zip(firsts, seconds, strict=True)
        ]
        return self._ask([(each.prompt_ids, each.completion_ids) for each in found], progress)

    def _tokenized(self, answers: Sequence[Answer]) -> list[Pair]:
        prompts = self.tokenizer.encode_prompts([answer.prompt for answer in answers])
        texts = self.tokenizer.encode_completions(
            [answer.text for answer in answers], [answer.finished for answer in answers]
        )
        found = [self.tokenizer.truncated(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        return [(each.prompt_ids, each.completion_ids) for each in found]

    def _ask(self, sequences: Sequence[Pair], progress: Progress) -> list[float]:
        """Sequences that share a prompt go in one row; those without a token are read at the prompt's last one."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, (prompt, completion) in enumerate(sequences):
            # The last prompt token stands in for a completion that has none, so that there is something to read.
            key = tuple(prompt) if completion else tuple(prompt[:-1])
            groups.setdefault(key, []).append(number)
        packed = [
            PromptGroup(list(prompt), tuple(sequences[n][1] or sequences[n][0][-1:] for n in numbers), tuple(numbers))
            for prompt, numbers in groups.items()
        ]
        found = rewards_of(
            self.module, packed, micro_batch_tokens=self.micro_batch_tokens, device=self.device, progress=progress
        )
        bad = next((number for number, value in found.items() if not math.isfinite(value)), None)
        if bad is not None:
            raise ScorerError(
                f"the reward model gives {found[bad]} for text {bad + 1}. Expected a finite number: train it again with a "
                "lower learning rate, or run it in float32."
            )
        return [found[number] for number in range(len(sequences))]


class RewardModelJudge(Judge):
    """A reward model as a judge: P(first wins) in the order asked. A scalar one has no taste for a place."""

    def __init__(self, folder: str | Path, dtype: str = "float32", micro_batch_tokens: int = 4096):
        self.model = RewardModel(folder, dtype, micro_batch_tokens)
        self.name, self.version = "reward_model", self.model.digest[:12]

    def verdicts(self, prompts: Prompts, firsts: Sequence[str], seconds: Sequence[str]) -> list[Verdict]:
        pairs = [
            (Answer(prompt, first), Answer(prompt, second))
            for prompt, first, second in zip(prompts, firsts, seconds, strict=True)
        ]
        return [Verdict(sigmoid(logit), f"{logit:.6g}") for logit in self.model.first_wins(pairs)]


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow.

    >>> sigmoid(0.0), sigmoid(-1e6)
    (0.5, 0.0)
    """
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
