"""How large a model is, from its config.json and the headers of its safetensors: no weight is read, no torch needed."""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.errors import ModelError

NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim"),
    "activation": ("hidden_act", "activation_function", "hidden_activation"),
}
"""What families call the same number."""
ENDS = ("embed", "wte", "wpe", "lm_head")
"""Parts of the names of embeddings and heads, which an adapter leaves alone."""
MOST_HEADER = 100 << 20  # what the safetensors library reads at most


@dataclass(frozen=True)
class ModelSize:
    """Numbers of one model. `matrices` are the linear layers between the embeddings and the head: (name, inputs + outputs)."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    query_width: int
    key_width: int
    vocabulary: int
    gated: bool
    activation: str
    matrices: tuple[tuple[str, int], ...]

    def adapter(self, rank: int, targets: str) -> int:
        """Parameters of a LoRA adapter; `targets` as in train.lora."""
        named = {name.strip() for name in targets.split(",")}
        taken = (size for name, size in self.matrices if targets == "all-linear" or name.split(".")[-1] in named)
        return rank * sum(taken)


def model_size(folder: Path) -> ModelSize:
    """The size of the model in a transformers folder. Raises ModelError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shapes = dict(_shapes(folder))
        text = config.get("text_config") or config
        hidden, heads = int(_of(text, "hidden")), int(_of(text, "heads"))
        width = int(text.get("head_dim") or hidden // heads)
        gated = any("gate" in name for name in shapes)
        return ModelSize(
            parameters=sum(math.prod(shape) for shape in shapes.values()),
            layers=int(_of(text, "layers")),
            hidden=hidden,
            intermediate=int(_of(text, "intermediate", 4 * hidden)),
            query_width=width * heads,
            key_width=width * int(text.get("num_key_value_heads") or heads),
            vocabulary=int(text["vocab_size"]),
            gated=gated,
            activation=str(_of(text, "activation", "silu")),
            matrices=tuple(_matrices(shapes)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(
            f"{folder}: its size cannot be read ({type(error).__name__}: {error}). Expected config.json and *.safetensors "
            "as transformers' save_pretrained writes them. Save the model again."
        ) from None


def _of(config: Mapping[str, Any], what: str, default: Any = None) -> Any:
    for name in NAMES[what]:
        if config.get(name) is not None:
            return config[name]
    if default is None:
        raise KeyError(NAMES[what][0])
    return default


def _shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of every tensor: a file begins with the length of a JSON header, and the header."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MOST_HEADER:
                raise ValueError(f"{path.name} has no safetensors header")
            header = json.loads(file.read(length))
        yield from ((name, tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _matrices(shapes: Mapping[str, list[int]]) -> Iterator[tuple[str, int]]:
    for name, shape in shapes.items():
        if len(shape) == 2 and name.endswith(".weight") and not any(part in name for part in ENDS):
            yield name.removesuffix(".weight"), sum(shape)
