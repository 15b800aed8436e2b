"""Log-probs and forward KL divergences of sequences, from one pass of the policy and one of its reference.

    kl(y) = sum over completion tokens t of KL(reference(. | prefix_t) || policy(. | prefix_t)),   nats, full vocabulary

The two distributions of a few tokens at a time are made, used and forgotten: the backward pass makes them again, so that
memory does not grow with the number of tokens (TDPO, arXiv 2404.11999, section 4; NPO+KL).
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from preflow.models.head import LogitShape
from preflow.models.packing import PackedBatch
from preflow.models.sequence_logps import CHUNK_BYTES, SequenceLogps, sums_of_sequences


class SequenceDivergences(SequenceLogps):
    """`quantities` are the log-prob and the KL(reference || policy) of every sequence; gradients flow to the policy.

    `reference` is a frozen model, or None for a policy with an adapter, whose base without the adapter it is then.
    """

    quantities = ("logps", "kls")

    def __init__(self, model: PreTrainedModel, reference: PreTrainedModel | None):
        super().__init__(model)
        self.reference = SequenceLogps(reference.requires_grad_(False)) if reference is not None else None

    def forward(self, batch: PackedBatch) -> Tensor:
        theirs, head, shape = self._reference_hidden(batch)
        ours = self.hidden_states(batch)
        rows = max(1, CHUNK_BYTES // (16 * head.weight.shape[0]))
        parts = [
            checkpoint(self._chunk, own, other, targets, head, shape, use_reentrant=False)
            for own, other, targets in zip(ours.split(rows), theirs.split(rows), batch.targets.split(rows), strict=True)
        ]
        return sums_of_sequences(torch.cat(parts, 1), batch)

    @torch.no_grad()
    def _reference_hidden(self, batch: PackedBatch) -> tuple[Tensor, Any, LogitShape]:
        if self.reference is not None:
            frozen = self.reference
            return frozen.hidden_states(batch), frozen.model.get_output_embeddings(), frozen.shape
        with self.model.disable_adapter():
            return self.hidden_states(batch), self.model.get_output_embeddings(), self.shape

    def _chunk(self, own: Tensor, other: Tensor, targets: Tensor, head: Any, shape: LogitShape) -> Tensor:
        """[2, n]: log-probs of the targets, and KL(reference || policy), of n tokens."""
        policy = self.logits(own).log_softmax(-1)
        with torch.no_grad():
            bias = getattr(head, "bias", None)
            raw = torch.nn.functional.linear(other, head.weight, bias).to(policy.dtype)
            reference = shape.of(raw).log_softmax(-1)
        return torch.stack([policy.gather(-1, targets[:, None])[:, 0], forward_kls(reference, policy)])


def forward_kls(reference: Tensor, policy: Tensor) -> Tensor:
    """KL(reference || policy) of every row of log-probs [n, V]: [n] nats. A token that the reference never writes adds nothing."""
    return torch.where(reference == -torch.inf, 0.0, reference.exp() * (reference - policy)).sum(-1)
