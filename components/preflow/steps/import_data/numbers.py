"""The numbers of the data report, gathered while rows stream by."""

from array import array
from collections import Counter
from typing import Any

import numpy as np

from preflow.selection.editing import edit_report, normalised_edit_distance
from preflow.steps.import_data.shapes import Record

PERCENTILES = (1, 10, 50, 90, 99, 100)
MAX_SOURCES = 20
MEASURED = 500  # pairs whose edit distance is taken: a millisecond or two each


class Numbers:
    """Counts, length bias, ties, labels, scores and token lengths. A million rows are a few megabytes."""

    def __init__(self) -> None:
        self.splits: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.turns: Counter[int] = Counter()
        self.lengths: dict[str, array[int]] = {}
        self.longer = self.shorter = self.scored = self.ties = 0
        self.prompt_cut = self.completion_cut = 0
        self.labels: Counter[bool] = Counter()
        self.scores: array[float] = array("d")
        self.edits: array[float] = array("d")

    def add(
        self, record: Record, split: str, prompt_tokens: int, completion_tokens: dict[str, int], limits: tuple[int, int]
    ) -> None:
        """`limits` are the longest prompt and completion that stay whole."""
        self.splits[split] += 1
        if record.source is not None and (len(self.sources) < 10_000 or record.source in self.sources):
            self.sources[record.source] += 1
        self.turns[len(record.prompt)] += 1
        for name, count in {"prompt": prompt_tokens, **completion_tokens}.items():
            self.lengths.setdefault(name.partition(" ")[0], array("i")).append(count)
        self.prompt_cut += prompt_tokens > limits[0]
        self.completion_cut += sum(count > limits[1] for count in completion_tokens.values())
        if record.label is not None:
            self.labels[record.label] += 1
        if record.score is not None:
            self.scores.append(record.score)
        if "chosen" in completion_tokens:
            if len(self.edits) < MEASURED:
                sides = record.completions["chosen"], record.completions["rejected"]
                self.edits.append(normalised_edit_distance(*sides))
            self.longer += completion_tokens["chosen"] > completion_tokens["rejected"]
            self.shorter += completion_tokens["chosen"] < completion_tokens["rejected"]
            if None not in record.scores:
                self.scored += 1
                self.ties += record.scores[0] == record.scores[1]

    def report(self) -> dict[str, Any]:
        """The numbers as JSON."""
        rows = sum(self.splits.values())
        tokens = {name: _percentiles(np.frombuffer(each, dtype=np.int32)) for name, each in self.lengths.items()}
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
            found |= edit_report(self.edits)
        if self.labels:
            found["desirable"], found["undesirable"] = self.labels[True], self.labels[False]
        if self.scores:
            scores = np.frombuffer(self.scores, dtype=np.float64)
            found["scores"] = _percentiles(scores) | {"std": float(scores.std()), "distinct": len(np.unique(scores))}
        return found


def _percentiles(numbers: np.ndarray) -> dict[str, float]:
    found = zip(PERCENTILES, np.percentile(numbers, PERCENTILES), strict=True)
    return {f"p{p}": float(v) for p, v in found} | {"mean": float(numbers.mean())}
