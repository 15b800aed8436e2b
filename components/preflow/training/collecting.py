"""Collecting a rollout: the policy answers prompts, a scorer scores the answers, policy, reference and value network say
what they think of every token. Each process takes a share of the prompts; all end with the same rollout."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from preflow.artifacts.draws import generator
from preflow.artifacts.ids import Message, content_id
from preflow.models.packing import PackedBatch
from preflow.models.sampling import Sample, sample
from preflow.models.scoring.interface import Asked, Scoring
from preflow.models.sequence_logps import SequenceLogps
from preflow.models.values import TokenNumbers
from preflow.settings.rl import RLSettings
from preflow.text.tokenizer import Tokenizer
from preflow.training.policy_gradient import measured, rollout_micros
from preflow.training.rollouts import Rollout, without_advantages


@dataclass(frozen=True)
class Question:
    """A prompt of the data; `answer` is the right one, where it has one."""

    prompt_id: str
    messages: Sequence[Message]
    answer: str | None = None


def questions_of(number: int, total: int, settings: RLSettings) -> np.ndarray:
    """Which of `total` prompts rollout `number` asks: a shuffle per epoch, keyed by (seed, epoch); none twice in a rollout.

    >>> sorted(each for number in range(2) for each in questions_of(number, 4, RLSettings(prompts_per_rollout=2)).tolist())
    [0, 1, 2, 3]
    """
    size = min(settings.prompts_per_rollout, total)
    epoch, place = divmod(number, total // size)
    return generator("rollout prompts", settings.seed, epoch).permutation(total)[place * size : (place + 1) * size]


class Collector:
    """Called with a rollout's number, it makes that rollout. `module` is the policy in training, with its value network;
    `reference` a frozen model, or None for a policy with an adapter, whose base without the adapter it is then."""

    def __init__(
        self,
        module: TokenNumbers,
        reference: Any,
        tokenizer: Tokenizer,
        scoring: Scoring,
        questions: Sequence[Question],
        settings: RLSettings,
        device: torch.device,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        leave_if_asked: Callable[[], None] = lambda: None,
    ):
        self.module, self.reference, self.tokenizer, self.scoring = module, reference, tokenizer, scoring
        self.questions, self.settings, self.device = questions, settings, device
        self.progress, self.leave_if_asked = progress, leave_if_asked
        self.prompts = [
            ids[-tokenizer.max_prompt_tokens :]
            for ids in tokenizer.encode_prompts([each.messages for each in questions])
        ]
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.world = torch.distributed.get_world_size() if distributed else 1

    def __call__(self, number: int) -> Rollout:
        asked = questions_of(number, len(self.questions), self.settings)
        mine = asked[self.rank :: self.world]
        samples = self._samples(number, mine)
        scores = self._scores(samples)
        whole = sorted(self._everyone(list(zip(samples, scores, strict=True))), key=lambda row: self._place(row, asked))
        prompts = torch.tensor([each for each, _ in (row[0] for row in whole)])
        sampled = [each for _, each in (row[0] for row in whole)]
        return self._measured(prompts, sampled, torch.tensor([score for _, score in whole]))

    def _place(self, row: Any, asked: np.ndarray) -> tuple[int, int]:
        (number, each), _ = row
        return int(np.flatnonzero(asked == number)[0]), each.sample_index

    def _everyone(self, rows: list[Any]) -> list[Any]:
        """The rows of all processes."""
        if self.world == 1:
            return rows
        parts: list[list[Any]] = [[]] * self.world
        torch.distributed.all_gather_object(parts, rows)
        return [row for part in parts for row in part]

    def _samples(self, number: int, mine: np.ndarray) -> list[tuple[int, Sample]]:
        """(number of the prompt, completion): temperature 1 from all tokens, the law whose log-probs are trained on."""
        if not len(mine):
            return []
        settings, policy = self.settings, self.module.sequences.model
        by_id = {self.questions[each].prompt_id: int(each) for each in mine}
        training, found = policy.training, []
        policy.eval()  # gradient checkpointing, which is on in training, would switch the cache off
        for each in sample(
            policy,
            self.tokenizer,
            [(self.questions[each].prompt_id, self.questions[each].messages) for each in mine],
            samples_per_prompt=settings.samples_per_prompt,
            temperature=1.0,
            top_k=0,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.sampling_batch_size,
            seed=int(content_id("rollout", settings.seed, number)[:12], 16),
            progress=self.progress,
        ):
            self.leave_if_asked()
            found.append((by_id[each.prompt_id], each))
        policy.train(training)
        return found

    def _scores(self, samples: Sequence[tuple[int, Sample]]) -> list[float]:
        asked = [
            Asked(each.prompt_id, self.questions[n].messages, each.text, each.finish_reason == "stop", self.questions[n].answer)
            for n, each in samples
        ]  # fmt: skip
        size = self.scoring.at_once
        return [s for start in range(0, len(asked), size) for s in self.scoring.scores(asked[start : start + size])]

    def _measured(self, prompts: Tensor, samples: Sequence[Sample], scores: Tensor) -> Rollout:
        lengths = torch.tensor([len(each.token_ids) for each in samples])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        tokens = torch.zeros(mask.shape, dtype=torch.long)
        tokens[mask] = torch.tensor([token for each in samples for token in each.token_ids])
        finished = torch.tensor([each.finish_reason == "stop" for each in samples])
        nothing = torch.zeros(mask.shape)
        known = {"prompts": prompts, "tokens": tokens, "mask": mask, "finished": finished, "scores": scores}
        bare = without_advantages(**known, sampler_logps=nothing, reference_logps=nothing, values=nothing)
        micros = rollout_micros(bare, self.prompts, np.arange(len(bare)), self.settings.micro_batch_tokens)
        numbers = measured(self.module, micros, mask.shape, self.device)
        (reference,) = measured(self._reference, micros, mask.shape, self.device)
        values = numbers[1] if len(numbers) > 1 else torch.zeros_like(numbers[0])
        return without_advantages(
            **known | {"scores": scores.to(numbers[0])},
            sampler_logps=numbers[0],
            reference_logps=reference,
            values=values,
        )

    def _reference(self, batch: PackedBatch) -> Tensor:
        """[1, N] nats: the reference's log-prob of every completion token."""
        policy = self.module.sequences.model
        model, without = (
            (policy, policy.disable_adapter()) if self.reference is None else (self.reference, nullcontext())
        )
        with without:
            return SequenceLogps(model).token_logps(batch)[None]
