"""What the rows of a section are together: for settings that ask for a number of something, before anything is paid for."""

from dataclasses import dataclass, field

from preflow.steps.import_data.shapes import Record


@dataclass
class Facts:
    """Of training rows: how many, their prompts' ids, their sources, their smallest and largest score. Of held-out rows:
    their prompts' ids."""

    rows: int = 0
    prompts: set[str] = field(default_factory=set)
    sources: set[str | None] = field(default_factory=set)
    scores: tuple[float, float] | None = None
    heldout: set[str] = field(default_factory=set)

    def add(self, prompt: str, record: Record, split: str) -> None:
        if split != "train":
            self.heldout.add(prompt)
            return
        self.rows += 1
        self.prompts.add(prompt)
        self.sources.add(record.source)
        if record.score is not None:
            low, high = self.scores or (record.score, record.score)
            self.scores = min(low, record.score), max(high, record.score)
