"""Tiny rows of completions: labelled, scored, unwanted, and questions with right and wrong answers."""

from collections.abc import Iterator
from typing import Any

import tiny
from preflow.artifacts.ids import completion_id


def completions(count: int, seed: int = 0, split: str = "train", **facets: Any) -> Iterator[dict[str, Any]]:
    """Rows of completions/v1, one per prompt; a facet is a value, or a function of the row's number."""
    for number, pair in enumerate(tiny.pair_rows(count, seed, split)):
        text = pair["chosen"] if number % 2 == 0 else pair["rejected"]
        yield {
            "completion_id": completion_id(pair["prompt_id"], text, "human"),
            "prompt_id": pair["prompt_id"],
            "prompt": pair["prompt"],
            "text": text,
            "token_ids": None,
            "finish_reason": None,
            "source": "human",
            "split": split,
            **{name: value(number) if callable(value) else value for name, value in facets.items()},
        }


def labelled(count: int, seed: int = 0, split: str = "train") -> Iterator[dict[str, Any]]:
    """Every other completion is desirable; those begin with "good", the others with "bad"."""
    return completions(count, seed, split, desirable=lambda number: number % 2 == 0)


def scored(count: int, seed: int = 0, split: str = "train") -> Iterator[dict[str, Any]]:
    """Scores between 1 and 10: high ones for texts that begin with "good"."""
    return completions(
        count, seed, split, score=lambda number: 8.0 + number % 3 if number % 2 == 0 else 1.0 + number % 4
    )


def questions(count: int, seed: int = 0, wrong: int = 3, paraphrased: bool = True) -> Iterator[dict[str, Any]]:
    """The rows that `import_data` makes of questions: an answer each, a paraphrase, and wrong answers."""
    texts = tiny.sentences(count * (2 + wrong), seed + 1)
    for number, row in enumerate(tiny.prompt_rows(count, seed, "heldout")):
        own = texts[number * (2 + wrong) : (number + 1) * (2 + wrong)]
        sources = ["answer", *(["paraphrased"] if paraphrased else []), *["perturbed"] * wrong]
        for place, (source, text) in enumerate(zip(sources, own, strict=False)):
            answer = f"{text} {number} {place}"
            identity = completion_id(row["prompt_id"], answer, source)
            yield {**row, "completion_id": identity, "text": answer, "source": source}
