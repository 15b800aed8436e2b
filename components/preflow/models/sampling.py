"""Sampling completions: a prompt is read once for all its samples, and every sample has its own random numbers.

A sample's draws are keyed by (seed, prompt_id, sample index) and turned into tokens by inverting the distribution
function over the tokens in a canonical order, so batch size, order and sharding change no draw.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from preflow.artifacts.draws import uniforms
from preflow.artifacts.ids import Message
from preflow.errors import ModelError, SettingsError
from preflow.text.tokenizer import Tokenizer

Progress = Callable[[int, int], None]
COMPACT_BELOW = 0.75


@dataclass(frozen=True)
class Sample:
    """A sampled completion. `logp` is nats under the distribution it was drawn from (temperature and top_k applied), the
    sum of `token_logps`; `token_ids` end with the stop token iff `finish_reason` is "stop", else it is "length"."""

    prompt_id: str
    sample_index: int
    text: str
    token_ids: list[int]
    finish_reason: str
    logp: float
    token_logps: tuple[float, ...] = ()


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[tuple[str, Sequence[Message]]],
    *,
    samples_per_prompt: int,
    temperature: float,
    top_k: int,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Iterator[Sample]:
    """Samples of every (prompt_id, messages), prompt by prompt in an order of similar lengths.

    top_k = 0 samples from all tokens. `batch_size` sequences are decoded at once; it changes no draw. Prompts longer
    than the tokenizer's limit lose their beginning. Raises SettingsError for samples beyond the model's positions.
    """
    encoded = tokenizer.encode_prompts([messages for _, messages in prompts])
    cut = [ids[-tokenizer.max_prompt_tokens :] for ids in encoded]
    longest, positions = max(map(len, cut), default=0), tokenizer.max_positions
    if positions is not None and longest + max_new_tokens > positions:
        raise SettingsError(
            f"a prompt has {longest} tokens and max_new_tokens is {max_new_tokens}, but the model has {positions} positions. "
            f"Set text.max_prompt_tokens and max_new_tokens so that their sum is at most {positions}."
        )
    order = sorted(range(len(prompts)), key=lambda number: (len(cut[number]), prompts[number][0]))
    width = max(1, batch_size // samples_per_prompt)
    total, done = len(prompts) * samples_per_prompt, 0
    for start in range(0, len(order), width):
        numbers = order[start : start + width]
        draws = np.stack(
            [
                uniforms(max_new_tokens, seed, prompts[n][0], index)
                for n in numbers
                for index in range(samples_per_prompt)
            ]
        )
        decoding = _Decoding(model, tokenizer, [cut[n] for n in numbers], samples_per_prompt, temperature, top_k, draws)
        decoding.run(partial(_report, progress, done, len(draws), max_new_tokens, total))
        for place, number in enumerate(numbers):
            for index in range(samples_per_prompt):
                yield decoding.result(place * samples_per_prompt + index, prompts[number][0], index)
        done += len(draws)
        progress(done, total)


def _report(progress: Progress, done: int, rows: int, steps: int, total: int, step: int) -> None:
    """Samples of a batch grow together: count them by their share of tokens."""
    progress(done + rows * step // steps, total)


class _Decoding:
    """Decodes a batch of B = prompts * samples sequences; finished ones leave the batch when that pays."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        prompts: Sequence[Sequence[int]],
        samples: int,
        temperature: float,
        top_k: int,
        draws: np.ndarray,
    ):
        self.model, self.tokenizer, self.prompts, self.samples = model, tokenizer, prompts, samples
        self.temperature, self.top_k, self.device = temperature, top_k, model.device
        self.draws = torch.from_numpy(draws).to(self.device)
        self.stop = torch.tensor(sorted(tokenizer.stop_ids), device=self.device)
        count, steps = self.draws.shape
        self.tokens = torch.zeros(count, steps, dtype=torch.long, device=self.device)
        self.lengths = torch.zeros(count, dtype=torch.long, device=self.device)
        self.logps = torch.zeros(count, steps, dtype=torch.float64, device=self.device)
        self.stopped = torch.zeros(count, dtype=torch.bool, device=self.device)

    def run(self, progress: Callable[[int], None]) -> None:
        logits, cache, mask = self._prefill()
        alive = torch.arange(len(self.draws), device=self.device)
        for step in range(self.draws.shape[1]):
            chosen, logp = draw_tokens(logits, self.draws[alive, step], self.temperature, self.top_k)
            open_still = ~self.stopped[alive]  # a sequence that stopped is carried along until it pays to drop it
            self.tokens[alive, step] = chosen
            self.logps[alive, step] = torch.where(open_still, logp, 0.0)
            self.lengths[alive] += open_still.long()
            self.stopped[alive] |= torch.isin(chosen, self.stop)
            if step + 1 == self.draws.shape[1] or bool(self.stopped[alive].all()):
                break
            running = ~self.stopped[alive]
            if running.float().mean() < COMPACT_BELOW:
                kept = running.nonzero()[:, 0]
                cache.batch_select_indices(kept)
                alive, mask, chosen = alive[kept], mask[kept], chosen[kept]
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            logits = self._step(chosen, cache, mask)
            progress(step + 1)
        if not bool(torch.isfinite(self.logps).all()):
            raise ModelError(
                f"{type(self.model).__name__}: probabilities of next tokens are not finite, expected numbers. "
                "Set dtype: float32; if it happens there too, the weights are damaged."
            )

    def _prefill(self) -> tuple[Tensor, DynamicCache, Tensor]:
        """Read every prompt once (padded on the left), then repeat its keys and values for each of its samples."""
        width = max(map(len, self.prompts))
        ids = torch.zeros(len(self.prompts), width, dtype=torch.long)  # any token of the model's does where none looks
        mask = torch.zeros(len(self.prompts), width, dtype=torch.long)
        for row, prompt in enumerate(self.prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        mask = mask.to(self.device)
        output = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
            past_key_values=DynamicCache(config=self.model.config),
            logits_to_keep=1,
        )
        cache = output.past_key_values
        cache.batch_repeat_interleave(self.samples)
        logits = output.logits[:, -1].repeat_interleave(self.samples, 0)
        return logits, cache, mask.repeat_interleave(self.samples, 0)

    def _step(self, tokens: Tensor, cache: DynamicCache, mask: Tensor) -> Tensor:
        position = mask.sum(1, keepdim=True) - 1
        output = self.model(
            input_ids=tokens[:, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True
        )
        return output.logits[:, -1]

    def result(self, row: int, prompt_id: str, index: int) -> Sample:
        ids = self.tokens[row, : int(self.lengths[row])].tolist()
        finish = "stop" if bool(self.stopped[row]) else "length"
        text = self.tokenizer.decode(ids[:-1] if finish == "stop" else ids)
        logps = self.logps[row, : len(ids)].tolist()
        return Sample(prompt_id, index, text, ids, finish, sum(logps), tuple(logps))


def draw_tokens(logits: Tensor, draws: Tensor, temperature: float, top_k: int) -> tuple[Tensor, Tensor]:
    """(tokens [B], their log-probs [B] in nats) from logits [B, V] and uniforms [B] in [0, 1).

    The distribution function runs over the top_k tokens by falling logit (all tokens, by number, for top_k = 0).
    """
    logits = logits.float()
    if 0 < top_k < logits.shape[-1]:
        logits, candidates = logits.topk(top_k, dim=-1)
    else:
        candidates = None
    # The highest becomes zero first: the smallest temperature then leaves it alone, where inf - inf would be NaN.
    probabilities = ((logits - logits.amax(-1, keepdim=True)).double() / temperature).softmax(-1)
    cumulative = probabilities.cumsum(-1)
    # The last entry may round to just below 1; a draw beyond it means the last token that has any mass.
    place = torch.searchsorted(cumulative, draws[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    logp = probabilities.gather(-1, place[:, None])[:, 0].log()
    tokens = place if candidates is None else candidates.gather(-1, place[:, None])[:, 0]
    return tokens, logp
