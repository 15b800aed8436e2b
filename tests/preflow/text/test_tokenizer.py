"""The tokenization contract, on two families of tokenizers."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, normalizers, processors
from transformers import AutoTokenizer

import tiny
from preflow.errors import ModelError, SettingsError
from preflow.text.tokenizer import Tokenizer

TALK = [{"role": "system", "content": "be good"}, {"role": "user", "content": "the cat\nsees?"}]


@pytest.fixture
def chat(tiny_tokenizer: Path) -> Tokenizer:
    return Tokenizer.load(tiny_tokenizer)


def sentencepiece_like(folder: Path, *, prefix_space: bool = True) -> Path:
    """A unigram tokenizer with a prefix space and a BOS that its post-processor adds, as Llama 2's."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁the", -1.0), ("▁cat", -1.0), ("▁", -3.0), ("\n", -3.0)]
    pieces += [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz.,?!"]
    fast = Fast(models.Unigram(pieces, unk_id=0))
    fast.normalizer = normalizers.Sequence(
        ([normalizers.Prepend("▁")] if prefix_space else []) + [normalizers.Replace(" ", "▁")]
    )
    fast.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse()] + ([decoders.Strip(" ", 1, 0)] if prefix_space else [])
    )
    fast.add_special_tokens(["<s>", "</s>", "<unk>"])
    fast.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder.mkdir()
    fast.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (folder / "config.json").write_text("{}")
    return folder


def test_the_template_is_rendered_as_transformers_does(tiny_model: Path, chat: Tokenizer) -> None:
    theirs = AutoTokenizer.from_pretrained(tiny_model)
    assert chat.render_prompt(TALK) == theirs.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    expected: Any = theirs.apply_chat_template(TALK, tokenize=True, add_generation_prompt=True)
    assert chat.encode_prompt(TALK) == list(expected["input_ids"] if hasattr(expected, "keys") else expected)


def test_the_prompt_is_an_exact_prefix(chat: Tokenizer) -> None:
    sequence = chat.sequence(TALK, "the dog.")
    assert sequence.prompt_ids == chat.encode_prompt(TALK)
    assert sequence.completion_ids[-1] == chat.turn_end_id
    assert chat.decode(sequence.completion_ids) == "the dog."
    assert chat.sequence(TALK, "the dog.", finished=False).completion_ids == sequence.completion_ids[:-1]


def test_sampled_completions_keep_their_tokens(chat: Tokenizer) -> None:
    odd = [300, 5, 5, 7]
    assert chat.sequence(TALK, "whatever", token_ids=odd).completion_ids == odd


def test_turn_end_and_stops(chat: Tokenizer) -> None:
    assert chat.fast.id_to_token(chat.turn_end_id) == "<|im_end|>"
    assert chat.turn_end_id in chat.stop_ids
    assert chat.pad_id == chat.eos_id, "as in SmolLM2, so nothing may be masked by it"


@pytest.mark.parametrize("prefix_space", [True, False])
def test_sentencepiece_gets_one_bos_and_no_spurious_space(tmp_path: Path, prefix_space: bool) -> None:
    tokenizer = Tokenizer.load(
        tiny.stage(sentencepiece_like(tmp_path / "m", prefix_space=prefix_space), tmp_path / "t", template="none")
    )
    sequence = tokenizer.sequence([{"role": "user", "content": "the cat"}], " cat eats.")
    names = [tokenizer.fast.id_to_token(each) for each in sequence.prompt_ids + sequence.completion_ids]
    assert names.count("<s>") == 1
    assert names[0] == "<s>"
    assert names[-1] == "</s>"
    assert tokenizer.decode(sequence.completion_ids) == " cat eats."
    assert [tokenizer.fast.id_to_token(each) for each in tokenizer.encode_completion("dog", False)] == ["d", "o", "g"]


def test_truncation_keeps_the_prompts_end_and_the_completions_beginning(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(tiny.stage(tiny_model, tmp_path / "t", max_prompt_tokens=4, max_completion_tokens=2))
    whole = tokenizer.encode_prompt(TALK)
    sequence = tokenizer.sequence(TALK, "the cat sees the dog")
    assert sequence.prompt_ids == whole[-4:]
    assert sequence.prompt_cut == len(whole) - 4
    assert len(sequence.completion_ids) == 2
    assert sequence.completion_cut > 0


def test_an_open_assistant_turn_is_continued(chat: Tokenizer) -> None:
    text = chat.render_prompt([*TALK, {"role": "assistant", "content": "It was"}])
    assert text.endswith("<|im_start|>assistant\nIt was")


def test_batches_equal_single_calls(chat: Tokenizer) -> None:
    texts = ["the cat", "", "a b\nc"]
    assert chat.encode_completions(texts) == [chat.encode_completion(text) for text in texts]
    assert chat.encode_prompts([TALK, TALK[1:]]) == [chat.encode_prompt(TALK), chat.encode_prompt(TALK[1:])]


def test_what_is_missing_is_named(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        tiny.stage(tmp_path / "empty", tmp_path / "t")
    with pytest.raises(ModelError, match="no chat template.*text.template: none"):
        tiny.stage(sentencepiece_like(tmp_path / "m"), tmp_path / "t")
    with pytest.raises(SettingsError, match="no such file"):
        tiny.stage(tiny_model, tmp_path / "t", template="absent.jinja")
    with pytest.raises(ModelError, match="staged"):
        Tokenizer.load(tmp_path / "empty")


def test_a_template_that_refuses_says_so(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "strict.jinja").write_text("{{ raise_exception('no system role') }}")
    tokenizer = Tokenizer.load(tiny.stage(tiny_model, tmp_path / "t", template=str(tmp_path / "strict.jinja")))
    with pytest.raises(ModelError, match="no system role"):
        tokenizer.encode_prompt(TALK)
