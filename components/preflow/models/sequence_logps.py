"""Log-probs of completions: the LM head only where a completion token is predicted, in chunks, in float32.

`SequenceLogps` is a module around a causal language model, so that data-parallel wrappers see its forward pass.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from preflow.models.head import PLAIN, LogitShape, logit_shape
from preflow.models.packing import PackedBatch

CHUNK_BYTES = 128 << 20


class _ChunkedLogps(torch.autograd.Function):
    """log softmax(shape(hidden @ weight.T))[target] without keeping the logits: the backward pass makes them again.

    Memory is one chunk of logits whatever the number of tokens; the price is one more product in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        chunk: int,
        shape: LogitShape = PLAIN,
    ) -> Tensor:
        accumulate = _accumulation_dtype(hidden)
        logps = torch.empty(len(targets), dtype=accumulate, device=hidden.device)
        sums = torch.empty_like(logps)
        for part in _slices(len(targets), chunk):
            logits = shape.of(_logits(hidden[part], weight, bias))
            sums[part] = logits.logsumexp(-1)
            logps[part] = logits.gather(-1, targets[part, None])[:, 0] - sums[part]
        ctx.save_for_backward(hidden, weight, bias, targets, sums)
        ctx.chunk, ctx.shape = chunk, shape
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, sums = ctx.saved_tensors
        gradient = gradients[0]
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if needs_hidden else None
        to_weight = torch.zeros_like(weight, dtype=gradient.dtype) if needs_weight else None
        to_bias = torch.zeros_like(bias, dtype=gradient.dtype) if needs_bias and bias is not None else None
        for part in _slices(len(targets), ctx.chunk):
            # d logp[target] / d logits = onehot(target) - softmax(logits)
            logits = ctx.shape.of(_logits(hidden[part], weight, bias))
            slope = logits.clone() if ctx.shape.cap else logits
            slope.sub_(sums[part, None]).exp_().mul_(-gradient[part, None])
            slope.scatter_add_(-1, targets[part, None], gradient[part, None])
            slope = ctx.shape.slope(slope, logits)
            if to_bias is not None:
                to_bias += slope.sum(0)
            slope = slope.to(hidden.dtype)
            if to_hidden is not None:
                to_hidden[part] = slope @ weight
            if to_weight is not None:
                to_weight.addmm_(slope.T.to(to_weight.dtype), hidden[part].to(to_weight.dtype))
        return to_hidden, to_weight.to(weight.dtype) if to_weight is not None else None, to_bias, None, None, None


def _accumulation_dtype(hidden: Tensor) -> torch.dtype:
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return nn.functional.linear(hidden, weight, bias).to(_accumulation_dtype(hidden))


def _slices(length: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]


class SequenceLogps(nn.Module):
    """`forward(batch)` gives [Q, S]: the `quantities` of every sequence of a packed batch, in the batch's own order.

    Here one quantity, the log-prob in nats; modules that measure more (divergences, values) add rows.
    """

    quantities: tuple[str, ...] = ("logps",)

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self.shape = logit_shape(model.config)

    def forward(self, batch: PackedBatch) -> Tensor:
        return sums_of_sequences(self.token_logps(batch)[None], batch)

    def token_logps(self, batch: PackedBatch) -> Tensor:
        """[N] nats: the log-prob of every completion token, sequence after sequence."""
        hidden = self.hidden_states(batch)
        head = self.model.get_output_embeddings()
        chunk = max(1, CHUNK_BYTES // (4 * head.weight.shape[0]))
        return _ChunkedLogps.apply(hidden, head.weight, getattr(head, "bias", None), batch.targets, chunk, self.shape)

    def hidden_states(self, batch: PackedBatch) -> Tensor:
        """[N, H]: the last hidden state that predicts each completion token, sequence after sequence."""
        hidden, batch = self._run(batch)
        return hidden[batch.rows, batch.columns]

    def last_hidden_states(self, batch: PackedBatch) -> Tensor:
        """[S, H]: the last hidden state of every sequence, at its last completion token."""
        hidden, batch = self._run(batch)
        return hidden[batch.sequence_rows, batch.sequence_ends]

    def _run(self, batch: PackedBatch) -> tuple[Tensor, PackedBatch]:
        return decoder_states(decoder_of(self.model), self.model.config, batch)

    def logits(self, hidden: Tensor) -> Tensor:
        """[n, V] from hidden states [n, H], in float32 or better."""
        head = self.model.get_output_embeddings()
        return self.shape.of(_logits(hidden, head.weight, getattr(head, "bias", None)))


def decoder_states(decoder: nn.Module, config: Any, batch: PackedBatch) -> tuple[Tensor, PackedBatch]:
    """([R, W, H] a decoder's last hidden states, the batch that was run): sequences go apart where a row would be too long."""
    if batch.mask is not None and _sees_less(config.get_text_config(), batch):
        batch = batch.alone()
    mask = batch.mask
    if mask is not None and config._attn_implementation == "eager":
        dtype = next(decoder.parameters()).dtype
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    output = decoder(input_ids=batch.input_ids, attention_mask=mask, position_ids=batch.position_ids, use_cache=False)
    return output.last_hidden_state, batch


def sums_of_sequences(per_token: Tensor, batch: PackedBatch) -> Tensor:
    """[Q, S] from numbers per completion token [Q, N]."""
    sums = torch.zeros(len(per_token), len(batch.indices), dtype=per_token.dtype, device=per_token.device)
    return sums.index_add(1, batch.sequences, per_token)


def decoder_of(model: Any) -> nn.Module:
    """The model without its head; a peft wrapper is looked through (its layers sit inside the base model)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.get_decoder() if hasattr(inner, "get_decoder") else inner.base_model


def _sees_less(config: Any, batch: PackedBatch) -> bool:
    """Whether a layer's window is shorter than what a shared row's mask lets a token see. GPT-Neo counts in columns."""
    window, columns = getattr(config, "sliding_window", None), getattr(config, "window_size", None)
    return bool((window and batch.longest > window) or (columns and batch.input_ids.shape[1] > columns))
