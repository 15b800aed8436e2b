"""Loading and saving causal language models: safetensors only, no remote code, dropout off."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from preflow.errors import ModelError

logging.disable_progress_bar()
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def use_all_cores() -> None:
    """torch takes one thread per core that this process may use, whatever the environment inherited says; processes of one
    training share them."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def load_model(folder: str | Path, dtype: str = "float32") -> PreTrainedModel:
    """A causal language model in evaluation mode, on the CPU. Raises ModelError with what is missing."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json. Expected a folder that transformers' save_pretrained wrote.")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: no *.safetensors. Weights that must be unpickled are not loaded; save them as safetensors."
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in config:
        raise ModelError(
            f"{folder}: config.json asks for code of its own (auto_map), which is never run. Use a model that transformers knows."
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: transformers cannot load it: {error}. Check that config and weights belong together."
        ) from None
    _switch_dropout_off(model)
    return model.eval()


def _switch_dropout_off(model: torch.nn.Module) -> None:
    """Exact gradients and reusable reference log-probs need a deterministic forward pass."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():  # most families keep a rate as a plain number
            if isinstance(value, float) and ("drop" in name or "jitter" in name):
                setattr(module, name, 0.0)
    for name, value in list(vars(model.config).items()):
        if isinstance(value, float) and "drop" in name:
            setattr(model.config, name, 0.0)


def device() -> torch.device:
    """The accelerator of this process, else the CPU."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")
    )
