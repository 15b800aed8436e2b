"""A tiny random model and tokenizer, and tiny data: made, never downloaded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from preflow.artifacts.ids import completion_id, pair_id, prompt_id
from preflow.artifacts.manifest import write_manifest
from preflow.settings.text import TextSettings
from preflow.text.stage import stage_tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "bird",
    "house",
    "tree",
    "sees",
    "likes",
    "finds",
    "big",
    "small",
    "red",
    "happy",
    "sad",
    "and",
    "but",
    "was",
    "film",
    "book",
    "plot",
    "good",
    "bad",
]


def make_tokenizer(folder: Path) -> None:
    """Byte-level BPE with a ChatML template; the pad token is the end token, as in SmolLM2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHATML, **special})
    )


def make_model(folder: Path, seed: int = 0, family: str = "llama") -> Path:
    """A causal language model of two layers with random weights, as a plain transformers folder with a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder)
    tiny_network(seed, family).save_pretrained(folder)
    write_manifest(folder)
    return folder


def tiny_network(seed: int = 0, family: str = "llama", vocab_size: int = 400) -> Any:
    torch.manual_seed(seed)
    if family == "gpt2":  # layer norms in the model's own dtype: float64 all the way through
        config = GPT2Config(
            vocab_size=vocab_size,
            n_positions=256,
            n_embd=32,
            n_layer=2,
            n_head=4,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
        )
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def stage(model: Path, out: Path, **settings: Any) -> Path:
    stage_tokenizer(model, out, TextSettings(**settings))
    return out


def sentences(count: int, seed: int = 0) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(WORDS), (count, 12), generator=generator).tolist()
    lengths = torch.randint(3, 12, (count,), generator=generator).tolist()
    return [" ".join(WORDS[each] for each in row[:length]) for row, length in zip(picks, lengths, strict=True)]


def pair_rows(count: int, seed: int = 0, split: str = "train") -> Iterator[dict[str, Any]]:
    """Rows of pairs/v1 with distinct texts."""
    texts = sentences(3 * count, seed)
    for number in range(count):
        prompt = [{"role": "user", "content": f"{texts[3 * number]} {number}?"}]
        chosen, rejected = f"good {texts[3 * number + 1]}", f"bad {texts[3 * number + 2]}"
        identity = prompt_id(prompt)
        chosen_id, rejected_id = (completion_id(identity, text, "human") for text in (chosen, rejected))
        yield {
            "pair_id": pair_id(identity, chosen_id, rejected_id),
            "prompt_id": identity,
            "prompt": prompt,
            "chosen": chosen,
            "rejected": rejected,
            "chosen_id": chosen_id,
            "rejected_id": rejected_id,
            "preference": 1.0,
            "weight": 1.0,
            "source": "test",
            "split": split,
        }


def prompt_rows(count: int, seed: int = 0, split: str = "train") -> Iterator[dict[str, Any]]:
    """Rows of prompts/v1."""
    for number, text in enumerate(sentences(count, seed)):
        prompt = [{"role": "user", "content": f"{text} {number}?"}]
        yield {"prompt_id": prompt_id(prompt), "prompt": prompt, "source": "test", "split": split}


def write_jsonl(path: Path, rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
