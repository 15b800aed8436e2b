"""The numbers of the data report, gathered while rows stream by."""

from array import array
from collections import Counter
from typing import Any

import numpy as np

from preflow.steps.import_data.shapes import Record

PERCENTILES = (1, 10, 50, 90, 99, 100)
MAX_SOURCES = 20


class Numbers:
    """Counts, length bias, ties and token lengths. Lengths are 4 bytes each, so a million rows are a few megabytes."""

    def __init__(self) -> None:
        self.splits: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.turns: Counter[int] = Counter()
        self.lengths: dict[str, array[int]] = {}
        self.longer = self.shorter = self.scored = self.ties = 0
        self.prompt_cut = self.completion_cut = 0

    def add(
        self, record: Record, split: str, prompt_tokens: int, completion_tokens: dict[str, int], limits: tuple[int, int]
    ) -> None:
        """`limits` are the longest prompt and completion that stay whole."""
        self.splits[split] += 1
        if record.source is not None and (len(self.sources) < 10_000 or record.source in self.sources):
            self.sources[record.source] += 1
        self.turns[len(record.prompt)] += 1
        for name, count in {"prompt": prompt_tokens, **completion_tokens}.items():
            self.lengths.setdefault(name, array("i")).append(count)
        self.prompt_cut += prompt_tokens > limits[0]
        self.completion_cut += sum(count > limits[1] for count in completion_tokens.values())
        if "chosen" in completion_tokens:
            self.longer += completion_tokens["chosen"] > completion_tokens["rejected"]
            self.shorter += completion_tokens["chosen"] < completion_tokens["rejected"]
            if None not in record.scores:
                self.scored += 1
                self.ties += record.scores[0] == record.scores[1]

    def report(self) -> dict[str, Any]:
        """The numbers as JSON."""
        rows = sum(self.splits.values())
        tokens = {name: self._percentiles(values) for name, values in self.lengths.items()}
        found: dict[str, Any] = {
            "rows": rows,
            "train": self.splits["train"],
            "heldout": self.splits["heldout"],
            "tokens": tokens,
            "prompts_truncated": self.prompt_cut,
            "completions_truncated": self.completion_cut,
            "prompt_turns": {str(turns): count for turns, count in sorted(self.turns.items())},
            "sources": dict(self.sources.most_common(MAX_SOURCES)),
        }
        if "chosen" in self.lengths:
            decided = self.longer + self.shorter
            found["chosen_longer_share"] = self.longer / decided if decided else 0.5
            found["equal_length_pairs"] = rows - decided
            found["scored_pairs"], found["score_ties"] = self.scored, self.ties
        return found

    def _percentiles(self, values: "array[int]") -> dict[str, float]:
        numbers = np.frombuffer(values, dtype=np.int32)
        return {f"p{p}": float(v) for p, v in zip(PERCENTILES, np.percentile(numbers, PERCENTILES), strict=True)} | {
            "mean": float(numbers.mean())
        }
