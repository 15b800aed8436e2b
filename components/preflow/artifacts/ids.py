"""Content ids: the sha256 of canonical JSON, so that equal things have equal names everywhere."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

Message = Mapping[str, str]
ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no escapes: one text per value."""
    return ENCODER.encode(value)


def content_id(*parts: Any) -> str:
    """32 hexadecimal digits (128 bits) of the sha256 of the parts' canonical JSON."""
    # Texts, which most parts are, go the short way to the same JSON: a million rows have millions of ids.
    texts = ",".join(encode_basestring(part) if isinstance(part, str) else canonical_json(part) for part in parts)
    return hashlib.sha256(f"[{texts}]".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def prompt_id(prompt: Sequence[Message]) -> str:
    """The id of a conversation: roles and contents, in order."""
    return content_id("prompt", [[message["role"], message["content"]] for message in prompt])


def shard_of(prompt: str, shards: int) -> int:
    """The share, of `shards`, that the prompt with this id falls into, whatever other prompts there are."""
    return int(prompt[-12:], 16) % shards


def completion_id(prompt: str, text: str, source: str, sample_index: int = 0) -> str:
    """The id of a completion of the prompt with id `prompt`. Equal samples stay apart by their index."""
    return content_id("completion", prompt, text, source, sample_index)


def pair_id(prompt: str, chosen: str, rejected: str) -> str:
    """The id of an ordered pair of completion ids."""
    return content_id("pair", prompt, chosen, rejected)


def sequence_id(prompt_tokens: Sequence[int], completion_tokens: Sequence[int]) -> str:
    """The id of a tokenized sequence: what a log-prob belongs to."""
    return content_id("sequence", list(prompt_tokens), list(completion_tokens))
