"""Tokenizer families and the templates of real models: what is written comes back, and nothing stands there twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

import tiny
from preflow.text.tokenizer import Tokenizer

PIECES = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁the", -1.0), ("▁cat", -1.0), ("▁", -3.0), ("\n", -3.0)]
PIECES += [("\n\n", -2.0)] + [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz.,'<>/"]
TEXTS = ["the cat", " the cat", "\nthe cat", "\n\nthe", "\n\n\n the", "the\n\ncat", " ", "cat ", "cat's", ".the"]


def unigram(kind: str) -> Fast:
    fast = Fast(models.Unigram(PIECES, unk_id=0))
    if kind == "prepend":  # Llama 2
        fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        fast.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind)
        fast.decoder = decoders.Metaspace(prepend_scheme=kind)
    return fast


def byte_level(prefix_space: bool) -> Fast:
    fast = Fast(models.BPE())
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    fast.train_from_iterator(["the cat\n\nthe cat"] * 3, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    return fast


FAMILIES = {
    "prepend": lambda: unigram("prepend"),
    "always": lambda: unigram("always"),
    "first": lambda: unigram("first"),
    "never": lambda: unigram("never"),
    "bytes": lambda: byte_level(False),
    "bytes with a prefix": lambda: byte_level(True),
}


def staged(folder: Path, fast: Fast, **settings: Any) -> Tokenizer:
    """With a BOS that the tokenizer's post-processor puts before a plain text."""
    fast.add_special_tokens(["<s>", "</s>"])
    bos = fast.token_to_id("<s>")
    fast.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    (folder / "model").mkdir()
    fast.save(str(folder / "model" / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(names))
    (folder / "model" / "config.json").write_text("{}")
    return Tokenizer.load(tiny.stage(folder / "model", folder / "staged", **settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_completions_come_back_as_they_were(family: str, tmp_path: Path) -> None:
    tokenizer = staged(tmp_path, FAMILIES[family](), template="none")
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_completions(TEXTS)] == TEXTS
    assert tokenizer.encode_completions(TEXTS) == [tokenizer.encode_completion(text) for text in TEXTS]


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_that_are_written_out_are_not_doubled(family: str, tmp_path: Path) -> None:
    tokenizer = staged(tmp_path, FAMILIES[family](), template="none")
    bos, eos = tokenizer.fast.token_to_id("<s>"), tokenizer.eos_id
    for text in ("the cat", "<s>the cat"):
        prompt = [{"role": "user", "content": text}]
        assert tokenizer.encode_prompt(prompt).count(bos) == 1
        assert tokenizer.encode_prompts([prompt]) == [tokenizer.encode_prompt(prompt)]
    for text in ("the cat", "the cat</s>"):
        assert tokenizer.encode_completion(text)[-2:].count(eos) == 1


def test_templates_mark_what_was_generated_and_ask_for_tools(tiny_model: Path, tmp_path: Path) -> None:
    """As the templates of SmolLM3 (generation) and of models for tools do; compared with transformers."""
    template = (
        "{% if tools is not none %}TOOLS{% endif %}{% if documents is not none %}DOCUMENTS{% endif %}"
        "{% for message in messages %}{% if message.role == 'assistant' %}"
        "{% generation %}\n{{ message.content | trim }}<|im_end|>\n{% endgeneration %}"
        "{% else %}{{ bos_token }}{{ message.content }}\n{% endif %}{% endfor %}"
    )
    (tmp_path / "own.jinja").write_text(template)
    tokenizer = Tokenizer.load(tiny.stage(tiny_model, tmp_path / "t", template=str(tmp_path / "own.jinja")))
    talk = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": " sees "}] * 2
    theirs = AutoTokenizer.from_pretrained(tiny_model).apply_chat_template(talk, chat_template=template, tokenize=False)
    assert tokenizer.render_prompt([*talk, talk[0]]) == theirs + "<|im_start|>the cat\n"
    assert tokenizer.fast.id_to_token(tokenizer.turn_end_id) == "<|im_end|>"


def test_a_template_with_todays_date_is_the_same_tomorrow(tiny_model: Path, tmp_path: Path) -> None:
    """Llama 3's and SmolLM3's write the date: stored log-probs would not be found the day after."""
    (tmp_path / "dated.jinja").write_text("{{ strftime_now('%d %b %Y') }}")
    tokenizer = Tokenizer.load(tiny.stage(tiny_model, tmp_path / "t", template=str(tmp_path / "dated.jinja")))
    assert tokenizer.render_prompt([{"role": "user", "content": "x"}]) == "26 Jul 2024"
