"""Logits of a model folder, by transformers alone: a script for a process of its own, which must not import preflow.

    python plain_transformers.py QUESTION.json ANSWER.safetensors

QUESTION: {"folder", "prompts": [messages], "chat": whether prompts are rendered with the chat template,
"base" and "adapter": the same for an adapter on its base, or null}. ANSWER: `ids_<n>` token ids and `logits_<n>` [T, V] float32
of each prompt, `adapter_<n>` where there is an adapter.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def answer(question: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What somebody finds who loads the folder as its model card says."""
    tokenizer = AutoTokenizer.from_pretrained(question["folder"])
    model = AutoModelForCausalLM.from_pretrained(question["folder"], use_safetensors=True).eval()
    found = {}
    for number, messages in enumerate(question["prompts"]):
        found[f"ids_{number}"] = tokens(tokenizer, messages, question["chat"])
        found[f"logits_{number}"] = logits(model, found[f"ids_{number}"])
    if question["adapter"]:
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(question["base"], dtype=model.dtype, use_safetensors=True)
        adapted = PeftModel.from_pretrained(base, question["adapter"]).eval()
        for number in range(len(question["prompts"])):
            found[f"adapter_{number}"] = logits(adapted, found[f"ids_{number}"])
    return found


def tokens(tokenizer: Any, messages: list[dict[str, str]], chat: bool) -> torch.Tensor:
    """[T] token ids of a prompt."""
    if chat:
        encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    else:
        encoded = tokenizer("".join(message["content"] for message in messages))
    return torch.tensor(encoded["input_ids"], dtype=torch.long)


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """[T, V] in float32."""
    found: torch.Tensor = model(input_ids=ids[None].to(model.device)).logits[0].float().cpu().contiguous()
    return found


if __name__ == "__main__":
    asked, target = sys.argv[1:]
    result = answer(json.loads(Path(asked).read_text(encoding="utf-8")))
    assert not any(name.partition(".")[0].startswith("preflow") for name in sys.modules)
    save_file(result, target)
