"""A value network beside the policy: one number per prompt (DRO) or per token (PPO), from a backbone of its own.

Sharing the policy's backbone is harmful (DRO, arXiv 2405.19107, section 5), so the network is a copy of the model with a
scalar head on the last prompt token, zero at the start: the mean of a standardised score.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import load_model as load_tensors
from torch import Tensor, nn

from preflow.models.load import load_model
from preflow.models.packing import PackedBatch
from preflow.models.rewards import HEAD_FILE
from preflow.models.sequence_logps import SequenceLogps, decoder_of, decoder_states


class ValueNetwork(nn.Module):
    """`forward(batch)` gives [S]: the value of the prompt of every sequence of a packed batch."""

    def __init__(self, model: Any):
        super().__init__()
        self.backbone = decoder_of(model)
        width = model.get_output_embeddings().weight.shape[1]
        self.head = nn.Linear(width, 1, dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: PackedBatch) -> Tensor:
        last = batch.prompt_lengths - 1
        width = int(batch.prompt_lengths.max())
        hidden = self.backbone(
            input_ids=batch.input_ids[:, :width], position_ids=batch.position_ids[:, :width], use_cache=False
        ).last_hidden_state
        rows = hidden[torch.arange(len(last), device=hidden.device), last]
        return self.head(rows.to(self.head.weight.dtype))[:, 0][batch.sequence_rows]

    def token_values(self, batch: PackedBatch) -> Tensor:
        """[N]: the value of the text before each completion token, sequence after sequence (PPO)."""
        hidden, batch = decoder_states(self.backbone, self.backbone.config, batch)
        return self.head(hidden[batch.rows, batch.columns].to(self.head.weight.dtype))[:, 0]


def load_values(folder: str | Path, dtype: str = "float32") -> ValueNetwork | None:
    """The value network that was published with a policy; None where there is none."""
    path = Path(folder) / "value" / "model.safetensors"
    if not path.is_file():
        return None
    network = ValueNetwork(load_model(folder, dtype))
    load_tensors(network, str(path))
    return network.eval()


def value_network(folder: str | Path, dtype: str = "float32") -> ValueNetwork:
    """A network to be trained: a reward model's backbone and head, or a language model's backbone with a head of zeros."""
    network = ValueNetwork(load_model(folder, dtype))
    head = Path(folder) / HEAD_FILE
    if head.is_file():
        network.head.load_state_dict(load_file(head))
    return network


class TokenNumbers(nn.Module):
    """`forward(batch)` gives [Q, N]: the log-prob of every completion token, and the value before it where there is a network."""

    def __init__(self, sequences: SequenceLogps, network: ValueNetwork | None = None):
        super().__init__()
        self.sequences, self.network = sequences, network
        self.quantities = ("logps",) if network is None else ("logps", "values")

    def forward(self, batch: PackedBatch) -> Tensor:
        logps = self.sequences.token_logps(batch)
        if self.network is None:
            return logps[None]
        return torch.stack([logps, self.network.token_values(batch).to(logps.dtype)])


class SequencesWithValues(nn.Module):
    """The quantities of `sequences`, and a row `values` behind them."""

    def __init__(self, sequences: SequenceLogps, network: ValueNetwork):
        super().__init__()
        self.sequences, self.network = sequences, network
        self.quantities = (*sequences.quantities, "values")

    def forward(self, batch: PackedBatch) -> Tensor:
        found = self.sequences(batch)
        return torch.cat([found, self.network(batch)[None].to(found.dtype)])
