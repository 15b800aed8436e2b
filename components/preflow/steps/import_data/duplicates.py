"""Duplicates, and pairs in both directions: legitimate where annotators disagree, so what happens is the user's policy."""

from dataclasses import dataclass

from preflow.artifacts.ids import content_id
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.readers import RowError
from preflow.steps.import_data.shapes import Record

MENDING = "Remove one, or set data.duplicates: keep (both count) or aggregate (into preference and weight)."


@dataclass
class Votes:
    """Of a pair of texts: where it first stood, and how often each side of that first row won."""

    row: int
    first: int = 1
    second: int = 0

    @property
    def weight(self) -> float:
        return float(self.first + self.second)

    @property
    def preference(self) -> float:
        """P(the first row's chosen wins)."""
        return self.first / (self.first + self.second)


class Seen:
    """Remembers rows by 16-byte digests: about 200 bytes a row, however long its texts."""

    def __init__(self, settings: ImportSettings):
        self.policy = settings.duplicates
        self._rows: dict[bytes, Votes] = {}
        self._occurrences: dict[bytes, int] = {}
        self.duplicates = 0
        self.opposites = 0

    def add(self, prompt_id: str, record: Record, row: int) -> None:
        """Note a row. Raises RowError for a repeated one under the policy `stop`."""
        sides = [record.completions[name] for name in sorted(record.completions)]
        key, opposite = _key(prompt_id, sides), _key(prompt_id, sides[::-1])
        if key in self._rows:
            self.duplicates += 1
            self._rows[key].first += 1
            self._refuse("duplicate", f"the same as row {self._rows[key].row}.")
        elif len(sides) == 2 and opposite in self._rows:
            self.opposites += 1
            self._rows[opposite].second += 1
            self._refuse("opposite_pair", f"row {self._rows[opposite].row} prefers the other side of the same pair.")
        else:
            self._rows[key] = Votes(row)

    def _refuse(self, code: str, message: str) -> None:
        if self.policy == "stop":
            raise RowError(code, message, MENDING)

    def votes(self, prompt_id: str, record: Record) -> Votes | None:
        """The votes of a row that stands for its pair; None for one that is counted in an earlier row."""
        sides = [record.completions[name] for name in sorted(record.completions)]
        return self._rows.pop(_key(prompt_id, sides), None)

    def occurrence(self, identity: str) -> int:
        """How often this id came before: equal rows that are kept must stay apart."""
        key = bytes.fromhex(identity)
        self._occurrences[key] = self._occurrences.get(key, -1) + 1
        return self._occurrences[key]


def _key(prompt_id: str, sides: list[str]) -> bytes:
    return bytes.fromhex(content_id("row", prompt_id, sides))
