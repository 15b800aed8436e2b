"""The policy to be trained: all weights or a LoRA adapter; its trained parameters; how it is published."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from transformers import PreTrainedModel

from preflow.artifacts.files import publish_folder
from preflow.artifacts.manifest import write_manifest
from preflow.errors import SettingsError
from preflow.models.check import check_model
from preflow.models.load import load_model
from preflow.settings.train import LoraSettings, TrainOptions

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def make_policy(folder: str | Path, settings: TrainOptions, device: torch.device) -> Any:
    """The model of `folder`, ready to train. Raises ModelError."""
    model = load_model(folder, settings.dtype).to(device)
    check_model(model)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()  # transformers checkpoints in training mode only; dropout is zero, so nothing else changes
    if settings.lora is None:
        return model
    torch.manual_seed(settings.seed)  # the adapter's first half starts at random
    if settings.gradient_checkpointing:
        model.enable_input_require_grads()
    return _with_adapter(model, settings.lora)


def _with_adapter(model: PreTrainedModel, lora: LoraSettings) -> Any:
    from peft import LoraConfig, get_peft_model  # seconds to import, which full fine-tuning does without

    targets = lora.targets if lora.targets == "all-linear" else [name.strip() for name in lora.targets.split(",")]
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise SettingsError(
            f"train.lora.targets {lora.targets!r}: {str(error).rstrip('.')}. Name linear modules, or all-linear."
        ) from None
    if ends != {id(adapted.get_input_embeddings()), id(adapted.get_output_embeddings())}:
        raise SettingsError(
            f"train.lora.targets {lora.targets!r}: reaches the embeddings or the LM head, expected modules between them. "
            "Name others, or all-linear."
        )
    return adapted


def trained_parameters(policy: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Parameters with a gradient, by name; tied ones once."""
    return {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}


def publish_policy(
    policy: Any,
    source: str | Path,
    tokenizer: str | Path,
    target: str | Path,
    facts: dict[str, Any],
    network: torch.nn.Module | None = None,
    beside: Callable[[Path], None] = lambda folder: None,
) -> None:
    """A plain transformers folder: weights (an adapter is merged, and kept in adapter/), configuration and tokenizer; a value
    network in value/; and what `beside` writes."""
    with publish_folder(target) as folder:
        if hasattr(policy, "peft_config"):
            policy.save_pretrained(folder / "adapter")
            policy = policy.merge_and_unload()
        if policy.is_gradient_checkpointing:
            policy.gradient_checkpointing_disable()
        policy.save_pretrained(folder)
        if network is not None:
            (folder / "value").mkdir()
            save_model(network, str(folder / "value" / "model.safetensors"))
        copy_tokenizer(source, tokenizer, folder)
        beside(folder)
        write_manifest(folder, facts)


def copy_tokenizer(source: str | Path, tokenizer: str | Path, folder: Path) -> None:
    """The template that was trained with goes along, which may not be the model's own."""
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        origin = next((place / name for place in (Path(tokenizer), Path(source)) if (place / name).is_file()), None)
        if origin:
            shutil.copyfile(origin, folder / name)
