"""Comparisons: a prompt and two answers as one text, for models that say which one is better (SLiC-HF, RSO).

    <prompt, as it is sampled from>[RESPONSE A]\\n<first answer>\\n[RESPONSE B]\\n<second answer>\\n[BETTER]

The prompt is tokenized as everywhere, so all comparisons of a prompt share it; a finished answer keeps its end token.
What is too long is cut off both answers alike, at their ends: neither place has an advantage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflow.errors import ModelError
from preflow.text.tokenizer import TokenizedSequence, Tokenizer

TEMPLATE = {"opening": "[RESPONSE A]\n", "middle": "\n[RESPONSE B]\n", "closing": "\n[BETTER]"}


@dataclass(frozen=True)
class Comparisons:
    """The template as token ids, and the limits of the tokenization contract."""

    opening: list[int]
    middle: list[int]
    closing: list[int]
    max_completion_tokens: int
    max_positions: int | None

    @classmethod
    def of(cls, tokenizer: Tokenizer, template: Mapping[str, str] = TEMPLATE) -> "Comparisons":
        """`template` is the one that a reward model was trained with."""
        texts = [template[name] for name in TEMPLATE]
        opening, middle, closing = tokenizer.encode_completions(texts, [False] * len(texts))
        return cls(opening, middle, closing, tokenizer.max_completion_tokens, tokenizer.max_positions)

    def sequence(self, prompt: Sequence[int], first: Sequence[int], second: Sequence[int]) -> TokenizedSequence:
        """A comparison as a sequence: `prompt` as it is, all else is its completion. Raises ModelError without room."""
        limit = self._limit(len(prompt), len(first), len(second))
        answers = [*self.opening, *first[:limit], *self.middle, *second[:limit], *self.closing]
        cut = max(0, len(first) - limit) + max(0, len(second) - limit)
        return TokenizedSequence(list(prompt), answers, 0, cut)

    def _limit(self, prompt: int, first: int, second: int) -> int:
        """The most tokens that either answer may have."""
        if self.max_positions is None:
            return self.max_completion_tokens
        room = self.max_positions - prompt - len(self.opening) - len(self.middle) - len(self.closing)
        if room < 2:
            raise ModelError(
                f"a prompt of {prompt} tokens leaves no room for two answers in {self.max_positions} positions. "
                "Lower text.max_prompt_tokens, or take a model with more positions."
            )
        shorter = min(first, second, self.max_completion_tokens)
        return min(self.max_completion_tokens, max(room // 2, room - shorter))
