"""Whether a folder that is handed on is the model that was trained: plain transformers must find the same logits."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from preflow.artifacts.ids import Message
from preflow.errors import ModelError
from preflow.models import plain_transformers
from preflow.models.load import load_model, use_all_cores
from preflow.text.tokenizer import Tokenizer

PROMPTS: tuple[list[Message], ...] = (
    [{"role": "user", "content": "Name three colours of the sea."}],
    [
        {"role": "user", "content": "What is 17 + 4?"},
        {"role": "assistant", "content": "21."},
        {"role": "user", "content": "And twice as much?\n\nAnswer with a number."},
    ],
    [{"role": "user", "content": "  Übersetze „guten Morgen“ ins 日本語 🙂"}],
)
EXACT, ROUNDED = 1e-4, 2e-2
"""Largest difference of logits that is rounding, as a share of the largest logit: in float32, and in half precision."""
MERGED = 10.0
"""An adapter beside its base rounds otherwise than one that was merged: so much more is allowed."""


@dataclass(frozen=True)
class Reproduction:
    """Largest absolute differences of logits over all tokens of the prompts; `adapter`: of the adapter on its base."""

    prompts: int
    tokens: int
    difference: float
    adapter: float | None


def check_reproduction(
    folder: Path, trained: Path, tokenizer: Path, base: Path | None = None, prompts: tuple[list[Message], ...] = PROMPTS
) -> Reproduction:
    """Compare `folder`, loaded by transformers alone in a process of its own, with the model `trained` and its staged tokenizer.

    With `base`, also `folder`/adapter on that model. Raises ModelError where tokens or logits differ.
    """
    use_all_cores()
    contract = Tokenizer.load(tokenizer)
    adapter = str(folder / "adapter") if base else None
    question = {
        "folder": str(folder),
        "prompts": list(prompts),
        "chat": contract.template is not None,
        "base": str(base) if base else None,
        "adapter": adapter,
    }
    found = _ask(question)
    expected = [contract.encode_prompt(messages) for messages in prompts]
    for number, ids in enumerate(expected):
        if found[f"ids_{number}"].tolist() != ids:
            raise ModelError(
                f"{folder}: plain transformers encodes a prompt as {found[f'ids_{number}'].tolist()}, the training as {ids}. "
                "Expected the same tokens; check tokenizer_config.json of the start model."
            )
    own = _own_logits(trained, expected)
    scale = max(float(each.abs().max()) for each in own)
    allowed = scale * (EXACT if _is_exact(trained) else ROUNDED)
    difference = _compared(folder, own, found, "logits", allowed)
    of_adapter = _compared(folder / "adapter", own, found, "adapter", MERGED * allowed) if base else None
    return Reproduction(len(prompts), sum(map(len, expected)), difference, of_adapter)


def _ask(question: Mapping[str, object]) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as temporary:
        asked, target = Path(temporary) / "question.json", Path(temporary) / "answer.safetensors"
        asked.write_text(json.dumps(question), encoding="utf-8")
        command = [sys.executable, "-P", plain_transformers.__file__, str(asked), str(target)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise ModelError(
                f"{question['folder']}: plain transformers cannot load it ({said}). Expected a folder as save_pretrained "
                "writes it; load it by hand to see more."
            )
        return load_file(target)


def _own_logits(trained: Path, prompts: list[list[int]]) -> list[Tensor]:
    """Of each prompt [T, V], by the model as it was trained."""
    model = load_model(trained, _dtype(trained))
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids])).logits[0].float() for ids in prompts]


def _dtype(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def _is_exact(folder: Path) -> bool:
    return _dtype(folder) in ("float32", "float64")


def _compared(folder: Path, own: list[Tensor], found: Mapping[str, Tensor], name: str, allowed: float) -> float:
    difference = max(float((found[f"{name}_{number}"] - each).abs().max()) for number, each in enumerate(own))
    if not difference <= allowed:
        raise ModelError(
            f"{folder}: its logits differ by up to {difference:.3g} from those of the trained model, expected at most "
            f"{allowed:.3g}. Run the training step again."
        )
    return difference
