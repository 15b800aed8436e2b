"""From records to rows of an artifact's kind, with their ids."""

from typing import Any

from preflow.artifacts.ids import completion_id, content_id, pair_id
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS, Kind
from preflow.steps.import_data.duplicates import Seen
from preflow.steps.import_data.shapes import Record

KINDS: dict[str, Kind] = {"prompts": PROMPTS, "pairs": PAIRS, "sft": COMPLETIONS}


class RowMaker:
    """Makes rows of one kind."""

    def __init__(self, kind: str, seen: Seen):
        self.kind, self.seen = kind, seen

    def __call__(
        self, prompt: str, record: Record, split: str, preference: float = 1.0, weight: float = 1.0
    ) -> dict[str, Any]:
        """The row of a record whose prompt has the id `prompt`."""
        shared = {"prompt_id": prompt, "prompt": record.prompt, "source": record.source, "split": split}
        if self.kind == "prompts":
            return {**shared, "answer": record.answer}
        if self.kind == "sft":
            return shared | self._demonstration(prompt, record.completions["target"])
        return shared | self._pair(prompt, record) | {"preference": preference, "weight": weight}

    def _demonstration(self, prompt: str, text: str) -> dict[str, Any]:
        identity = completion_id(prompt, text, "human")
        if index := self._repeats(identity):
            identity = completion_id(prompt, text, "human", index)
        return {"completion_id": identity, "sample_index": index, "text": text, "source": "human"}

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
