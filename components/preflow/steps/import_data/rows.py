"""From records to rows of an artifact's kind, with their ids."""

from collections.abc import Iterator
from typing import Any

from preflow.artifacts.ids import completion_id, content_id, pair_id
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS, Kind
from preflow.steps.import_data.duplicates import Seen
from preflow.steps.import_data.shapes import Record

KINDS: dict[str, Kind] = {
    "prompts": PROMPTS,
    "pairs": PAIRS,
    **dict.fromkeys(("sft", "labelled", "scored", "negatives", "questions"), COMPLETIONS),
}

ANSWERS = {"target": "answer", "paraphrased": "paraphrased", "perturbed": "perturbed"}
"""The source of a question's answers, by their name in its record."""


class RowMaker:
    """Makes rows of one kind."""

    def __init__(self, kind: str, seen: Seen):
        self.kind, self.seen = kind, seen

    def __call__(
        self, prompt: str, record: Record, split: str, preference: float = 1.0, weight: float = 1.0
    ) -> Iterator[dict[str, Any]]:
        """The rows of a record whose prompt has the id `prompt`: one, or one per answer of a question."""
        shared = {"prompt_id": prompt, "prompt": record.prompt, "source": record.source, "split": split}
        if self.kind == "prompts":
            yield {**shared, "answer": record.answer}
        elif self.kind == "pairs":
            yield shared | self._pair(prompt, record) | {"preference": preference, "weight": weight}
        elif self.kind == "questions":
            for name, text in record.completions.items():
                yield shared | self._completion(prompt, text, ANSWERS[name.partition(" ")[0]])
        else:
            facets = {"desirable": False if self.kind == "negatives" else record.label, "score": record.score}
            yield shared | self._completion(prompt, record.completions["target"], "human") | facets

    def _completion(self, prompt: str, text: str, source: str) -> dict[str, Any]:
        identity = completion_id(prompt, text, source)
        if index := self._repeats(identity):
            identity = completion_id(prompt, text, source, index)
        return {"completion_id": identity, "sample_index": index, "text": text, "source": source}

    def _pair(self, prompt: str, record: Record) -> dict[str, Any]:
        ids = {side: completion_id(prompt, text, "human") for side, text in record.completions.items()}
        identity = pair_id(prompt, ids["chosen"], ids["rejected"])
        if again := self._repeats(identity):
            identity = content_id("pair", identity, again)
        return {
            "pair_id": identity,
            "chosen": record.completions["chosen"],
            "rejected": record.completions["rejected"],
            "chosen_id": ids["chosen"],
            "rejected_id": ids["rejected"],
            "chosen_score": record.scores[0],
            "rejected_score": record.scores[1],
        }

    def _repeats(self, identity: str) -> int:
        """Equal rows are there only where they are kept; their ids stay apart."""
        return self.seen.occurrence(identity) if self.seen.policy == "keep" else 0
