"""The kinds of artifacts with rows: their columns and their keys. Folders (models) have a manifest instead.

Every column but the key and those in `required` may be null. Scores have the unit that their row names; log-probs are
nats, summed over completion tokens, the end-of-turn token included.
"""

from dataclasses import dataclass

import pyarrow as pa

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
PROMPT = pa.list_(MESSAGE)
TOKENS = pa.list_(pa.int32())


@dataclass(frozen=True)
class Kind:
    """A kind with its version; `key` columns identify a row, `required` columns are never null."""

    name: str
    version: int
    schema: pa.Schema
    key: tuple[str, ...]
    required: tuple[str, ...]

    @property
    def stamp(self) -> str:
        return f"{self.name}/v{self.version}"


def _kind(name: str, key: str, required: str, columns: dict[str, pa.DataType]) -> Kind:
    return Kind(name, 1, pa.schema(list(columns.items())), tuple(key.split()), (*key.split(), *required.split()))


PROMPTS = _kind(
    "prompts",
    "prompt_id",
    "prompt split",
    {
        "prompt_id": pa.string(),
        "prompt": PROMPT,
        "source": pa.string(),
        "split": pa.string(),
        "answer": pa.string(),
    },
)

COMPLETIONS = _kind(
    "completions",
    "completion_id",
    "prompt_id text",
    {
        "completion_id": pa.string(),
        "prompt_id": pa.string(),
        "sample_index": pa.int32(),
        "text": pa.string(),
        "token_ids": TOKENS,
        "source": pa.string(),
        "finish_reason": pa.string(),
        "policy": pa.string(),
        "temperature": pa.float64(),
        "top_k": pa.int32(),
        "sampler_logp": pa.float64(),
        "sampler_token_logps": pa.list_(pa.float32()),
        "score": pa.float64(),
        "scorer": pa.string(),
        "unit": pa.string(),
        "win_rate": pa.float64(),
        "advantage": pa.float64(),
        "desirable": pa.bool_(),
        "flags": pa.list_(pa.string()),
        "round": pa.int32(),
        "prompt": PROMPT,
        "split": pa.string(),
    },
)

JUDGMENTS = _kind(
    "judgments",
    "prompt_id first_id second_id",
    "probability",
    {
        "prompt_id": pa.string(),
        "first_id": pa.string(),
        "second_id": pa.string(),
        "probability": pa.float64(),
        "judge": pa.string(),
        "version": pa.string(),
        "raw": pa.string(),
    },
)

PAIRS = _kind(
    "pairs",
    "pair_id",
    "prompt_id prompt chosen rejected chosen_id rejected_id preference weight split",
    {
        "pair_id": pa.string(),
        "prompt_id": pa.string(),
        "prompt": PROMPT,
        "chosen": pa.string(),
        "rejected": pa.string(),
        "chosen_id": pa.string(),
        "rejected_id": pa.string(),
        "chosen_token_ids": TOKENS,
        "rejected_token_ids": TOKENS,
        "chosen_finish": pa.string(),
        "rejected_finish": pa.string(),
        "chosen_score": pa.float64(),
        "rejected_score": pa.float64(),
        "chosen_win_rate": pa.float64(),
        "rejected_win_rate": pa.float64(),
        "preference": pa.float64(),
        "weight": pa.float64(),
        "round": pa.int32(),
        "source": pa.string(),
        "split": pa.string(),
    },
)

SEQUENCE_LOGPS = _kind(
    "sequence_logps",
    "sequence_id",
    "logp num_tokens",
    {
        "sequence_id": pa.string(),
        "logp": pa.float64(),
        "token_logps": pa.list_(pa.float32()),
        "num_tokens": pa.int32(),
    },
)

KINDS = {kind.stamp: kind for kind in (PROMPTS, COMPLETIONS, JUDGMENTS, PAIRS, SEQUENCE_LOGPS)}
