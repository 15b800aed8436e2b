"""Duplicates, pairs in both directions, completions with two labels or scores: legitimate where annotators disagree, so
what happens is the user's policy.

`aggregate` makes one row of all rows about a pair of texts: weight is the number of votes, preference the share of them
for the side that is chosen, which is the majority's (the first row's, where the votes are equal). Weights are used
relative to each other (losses are weighted means), so a pair seen three times counts as much as its three rows did.
"""

from dataclasses import dataclass
from hashlib import blake2b

from preflow.settings.data import WITHOUT_VOTES, ImportSettings
from preflow.steps.import_data.problems import RowError
from preflow.steps.import_data.shapes import Record

MENDING = "Remove one, or set data.duplicates: keep (both count) or aggregate (into preference and weight)."
MENDING_FACETS = "Remove one, or set data.duplicates: keep (both count)."


@dataclass(slots=True)
class Votes:
    """Of a pair of texts: where it first stood, and how often each side of that first row won.

    Of a single completion: where it first stood, and its label or score there (`facet`).
    """

    file: str
    row: int
    facet: bool | float | None = None
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
        self.policy, self.kind = settings.duplicates, settings.kind
        self._rows: dict[bytes, Votes] = {}
        self._occurrences: dict[bytes, int] = {}
        self.duplicates = 0
        self.opposites = 0
        self.contradictions = 0

    def add(self, prompt_id: str, record: Record, file: str, row: int) -> bool:
        """Note a row; False for a repeated one. Raises RowError for a repeated one under the policy `stop`."""
        sides = list(record.completions.values())
        if (votes := self._rows.get(_key(prompt_id, sides))) is not None:
            votes.first += 1
            if votes.facet != record.facet:
                self.contradictions += 1
                says, first = _shown(record.facet), _shown(votes.facet)
                self._refuse("contradiction", f"{says}, but {_place(votes, file)} says {first} of the same completion.")
            else:
                self.duplicates += 1
                self._refuse("duplicate", f"the same as {_place(votes, file)}.")
        elif self.kind == "pairs" and (votes := self._rows.get(_key(prompt_id, sides[::-1]))) is not None:
            self.opposites += 1
            votes.second += 1
            self._refuse("opposite_pair", f"{_place(votes, file)} prefers the other side of the same pair.")
        else:
            self._rows[_key(prompt_id, sides)] = Votes(file, row, record.facet)
            return True
        return False

    def _refuse(self, code: str, message: str) -> None:
        if self.policy == "stop":
            raise RowError(code, message, MENDING if self.kind not in WITHOUT_VOTES else MENDING_FACETS)

    def votes(self, prompt_id: str, record: Record) -> Votes | None:
        """The votes of a row that stands for its pair; None for one that is counted in an earlier row."""
        return self._rows.pop(_key(prompt_id, list(record.completions.values())), None)

    def occurrence(self, identity: str) -> int:
        """How often this id came before: equal rows that are kept must stay apart."""
        key = bytes.fromhex(identity)
        self._occurrences[key] = self._occurrences.get(key, -1) + 1
        return self._occurrences[key]


def _place(votes: Votes, file: str) -> str:
    return f"row {votes.row}" if votes.file == file else f"row {votes.row} of {votes.file}"


def _shown(facet: bool | float | None) -> str:
    if isinstance(facet, bool):
        return "desirable" if facet else "undesirable"
    return f"score {facet:g}"


def _key(prompt_id: str, sides: list[str]) -> bytes:
    digest = blake2b(bytes.fromhex(prompt_id), digest_size=16)
    for text in sides:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
