"""The tokenization contract: one place where messages become tokens, for every step.

The prompt is rendered with the generation prompt; the completion is encoded on its own, plus the turn's end token iff
it is finished. So the prompt is an exact token prefix, and sampled completions keep the tokens they were sampled as.
Special tokens are never doubled, and nothing is ever masked by comparing with the padding token.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from preflow.artifacts.ids import Message, sequence_id
from preflow.errors import ModelError
from preflow.text.stage import CONTRACT_FILE, TEMPLATE_FILE
from preflow.text.template import render

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
PROBE = "Probe."
ANCHORS = ("\n", ".", "|")


@dataclass(frozen=True)
class TokenizedSequence:
    """A prompt and its completion as token ids; `*_cut` counts the tokens that truncation removed."""

    prompt_ids: list[int]
    completion_ids: list[int]
    prompt_cut: int = 0
    completion_cut: int = 0

    @property
    def id(self) -> str:
        return sequence_id(self.prompt_ids, self.completion_ids)


class Tokenizer:
    """A staged tokenizer folder at work. Make one with `Tokenizer.load`."""

    def __init__(self, fast: FastTokenizer, names: dict[str, str], template: str | None, contract: dict[str, Any]):
        self.fast, self.names, self.template = fast, names, template
        self.max_prompt_tokens: int = contract["max_prompt_tokens"]
        self.max_completion_tokens: int = contract["max_completion_tokens"]
        self.max_positions: int | None = contract.get("max_positions")
        self._config_eos: list[int] = contract.get("eos_token_id", [])
        self.fast.no_padding()
        self.fast.no_truncation()

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Raises ModelError for a folder that was not staged or cannot be read."""
        folder = Path(folder)
        try:
            contract = json.loads((folder / CONTRACT_FILE).read_text(encoding="utf-8"))
            fast = FastTokenizer.from_file(str(folder / "tokenizer.json"))
        except FileNotFoundError as error:
            raise ModelError(
                f"{folder}: no {Path(error.filename or CONTRACT_FILE).name}. Expected a staged tokenizer."
            ) from None
        except Exception as error:  # the Rust side raises plain Exception
            raise ModelError(f"{folder}: tokenizer.json cannot be read ({error}). Save the tokenizer again.") from None
        config_path = folder / "tokenizer_config.json"
        config = json.loads(config_path.read_text(encoding="utf-8")) if config_path.is_file() else {}
        names = {name: _content(config[name]) for name in SPECIAL_NAMES if config.get(name)}
        known = fast.get_vocab(with_added_tokens=True)
        missing = [AddedToken(text, special=True) for text in names.values() if text not in known]
        if missing:
            raise ModelError(
                f"{folder}: special tokens {[str(t.content) for t in missing]} are not in tokenizer.json. Save it again."
            )
        template_path = folder / TEMPLATE_FILE
        template = template_path.read_text(encoding="utf-8") if template_path.is_file() else None
        return cls(fast, names, template, contract)

    @property
    def vocab_size(self) -> int:
        return int(self.fast.get_vocab_size(with_added_tokens=True))

    def _special_id(self, name: str) -> int:
        found = self.fast.token_to_id(self.names[name])
        assert found is not None, "load() has checked that special tokens are in the vocabulary"
        return int(found)

    @cached_property
    def eos_id(self) -> int:
        if "eos_token" in self.names:
            return self._special_id("eos_token")
        if self._config_eos:
            return self._config_eos[0]
        raise ModelError(
            "the tokenizer names no eos_token and the model no eos_token_id. Set eos_token in tokenizer_config.json."
        )

    @cached_property
    def pad_id(self) -> int:
        """What fills a row's end. Its value changes no result: lengths decide what counts."""
        return self._special_id("pad_token") if "pad_token" in self.names else self.eos_id

    @cached_property
    def turn_end_id(self) -> int:
        """The special token that the template puts after an assistant's turn; else end-of-sequence."""
        if self.template is None:
            return self.eos_id
        text = self._render([{"role": "user", "content": "?"}, {"role": "assistant", "content": PROBE}], False)
        _, found, after = text.rpartition(PROBE)
        ids = self.fast.encode(after.lstrip(), add_special_tokens=False).ids if found else []
        special = self.fast.get_added_tokens_decoder()
        return int(ids[0]) if ids and ids[0] in special else self.eos_id

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Sampling ends at these: the turn's end, and the end-of-sequence tokens."""
        return frozenset({self.turn_end_id, self.eos_id, *self._config_eos})

    def render_prompt(self, messages: Sequence[Message]) -> str:
        """A prompt as text, with the generation prompt. A last turn by the assistant is left open, to be continued."""
        if self.template is None:
            return "".join(message["content"] for message in messages)
        if messages and messages[-1]["role"] == "assistant":
            return self._render(messages[:-1], True) + messages[-1]["content"]
        return self._render(messages, True)

    def _render(self, messages: Sequence[Message], generation: bool) -> str:
        assert self.template is not None
        return render(self.template, messages, add_generation_prompt=generation, **self.names)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a prompt. A template writes its own special tokens; a plain text gets what the tokenizer adds."""
        return self._prompt_ids(self.render_prompt(messages))

    def _prompt_ids(self, text: str) -> list[int]:
        return self._led(self._ids(text))

    def _led(self, ids: list[int]) -> list[int]:
        """With what leads a plain text, which one that was rendered elsewhere may have already."""
        leading = [] if self.template is not None else self._leading_ids
        return ids if ids[: len(leading)] == leading else leading + ids

    @cached_property
    def _leading_ids(self) -> list[int]:
        """What the tokenizer itself puts before a plain text (a BOS, or nothing); what it puts after is left out."""
        plain = self.fast.encode("x", add_special_tokens=False).ids
        whole = self.fast.encode("x", add_special_tokens=True).ids
        starts = [start for start in range(len(whole)) if whole[start : start + len(plain)] == plain]
        return list(whole[: starts[0]]) if starts else []

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        """Texts and their tokens to encode completions behind, where the tokenizer would prefix a space (SentencePiece)."""
        found, alone = [], self._ids("a")
        for anchor in ANCHORS:
            before, behind = self._ids(anchor), self._ids(anchor + "a")
            if behind[: len(before)] == before and behind[len(before) :] != alone:
                found.append((anchor, before))
        return found

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(each.ids) for each in self.fast.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _behind(self, texts: Sequence[str], anchors: Sequence[tuple[str, list[int]]]) -> list[list[int]]:
        """Token ids of texts behind the first of `anchors` that does not grow together with them ("\\n\\n" is often a token)."""
        if not anchors or not texts:
            return self._plain(texts)
        anchor, before = anchors[0]
        found = self._plain([anchor + text for text in texts])
        grown = [place for place, ids in enumerate(found) if ids[: len(before)] != before]
        found = [ids[len(before) :] for ids in found]
        for place, ids in zip(grown, self._behind([texts[place] for place in grown], anchors[1:]), strict=True):
            found[place] = ids
        return found

    def _ids(self, text: str) -> list[int]:
        return list(self.fast.encode(text, add_special_tokens=False).ids)

    def encode_completion(self, text: str, finished: bool = True) -> list[int]:
        """Token ids of a completion on its own, without a prefix space of the tokenizer's, plus the turn's end iff finished."""
        return self.encode_completions([text], [finished])[0]

    def encode_completions(self, texts: Sequence[str], finished: Sequence[bool] | None = None) -> list[list[int]]:
        """As `encode_completion`, for many at once (in parallel)."""
        ends = [True] * len(texts) if finished is None else finished
        return [
            [*ids, self.turn_end_id] if end and ids[-1:] != [self.turn_end_id] else ids  # some exports write it out
            for ids, end in zip(self._behind(texts, self._anchors), ends, strict=True)
        ]

    def encode_prompts(self, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
        """As `encode_prompt`, for many at once (in parallel)."""
        return [self._led(ids) for ids in self._plain([self.render_prompt(messages) for messages in prompts])]

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens left out, a prefix space kept (the completion continues the prompt)."""
        before = self._anchors[0][1] if self._anchors else []
        whole, anchor = (str(self.fast.decode(each, skip_special_tokens=True)) for each in ([*before, *ids], before))
        return whole.removeprefix(anchor)

    def sequence(
        self, prompt: Sequence[Message], text: str, *, finished: bool = True, token_ids: Sequence[int] | None = None
    ) -> TokenizedSequence:
        """A prompt with its completion, truncated: the prompt keeps its end, the completion its beginning.

        `token_ids` are the tokens a completion was sampled as; they are taken as they are.
        """
        completion = list(token_ids) if token_ids is not None else self.encode_completion(text, finished)
        return self.truncated(self.encode_prompt(prompt), completion)

    def truncated(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> TokenizedSequence:
        """Token ids within the contract's limits and the model's positions."""
        kept_prompt = list(prompt_ids[-self.max_prompt_tokens :])
        kept = list(completion_ids[: max(0, self.room_for_completion(len(kept_prompt)))])
        return TokenizedSequence(kept_prompt, kept, len(prompt_ids) - len(kept_prompt), len(completion_ids) - len(kept))

    def room_for_completion(self, prompt_tokens: int) -> int:
        """How many completion tokens remain behind a prompt of this (truncated) length."""
        if self.max_positions is None:
            return self.max_completion_tokens
        return min(self.max_completion_tokens, self.max_positions - prompt_tokens)


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else str(token)
