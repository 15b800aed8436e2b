"""What can be wrong with the user's files: the codes, and the list of what was found.

Codes are stable names: programs may read them from `preflow check --json` and from the rejects file.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from preflow.errors import Problem

CODES = {
    "unknown_format": "a file whose suffix is none of ours, or a folder without data",
    "wrong_suffix": "the bytes are of another format than the suffix says",
    "unreadable_file": "a file that cannot be opened, or ends too early",
    "empty_file": "a file without rows",
    "broken_json": "a line, an element or a cell that is not valid JSON",
    "broken_csv": "a line that is not valid CSV",
    "ragged_row": "a CSV row with more or fewer cells than its header",
    "duplicate_column": "a CSV header that names a column twice",
    "undecodable_bytes": "bytes that are not UTF-8, or half of a character",
    "missing_column": "a column that the kind needs is not there, or has another name",
    "ambiguous_columns": "columns of which only a part would be read",
    "null": "a value that is null",
    "wrong_type": "a value of a wrong type",
    "unknown_role": "a message whose role is not system, user or assistant",
    "unknown_label": "a label that means neither good nor bad",
    "unknown_split": "a split column with another value than train or heldout",
    "tool_calls": "a message that calls tools: out of scope",
    "empty_prompt": "a prompt, or a turn of it, without text",
    "empty_completion": "a completion without text, or without tokens",
    "no_common_prompt": "chosen and rejected, without a prompt column, that share no beginning",
    "no_completion": "a conversation that does not end with an assistant turn after a prompt",
    "user_in_completion": "a completion with a turn by someone other than the assistant",
    "several_turns": "a completion of several turns",
    "prompt_repeated": "a completion that begins with the prompt's last turn",
    "prompt_ends_with_assistant": "a prompt whose last turn is the assistant's",
    "chosen_equals_rejected": "a pair of equal texts",
    "template_refused": "messages that the chat template cannot render",
    "completion_truncated_away": "a prompt that leaves no room for its completion",
    "duplicate": "a row that was there before",
    "opposite_pair": "a pair that was there before, the other way round",
    "contradiction": "a completion that was there before, with another label or score",
    "no_answer": "a prompt without the answer that its scorer compares with",
    "wrong_answer_is_right": "a question whose wrong answers include the right one",
    "prompt_in_both_splits": "a held-out prompt that is also trained on",
}
SHOWN_PROBLEMS = 20


class RowError(Exception):
    """What is wrong with a row: `code`, `message` (found and expected) and `fix`.

    `whole_file` marks what no dropping of rows can mend.
    """

    def __init__(self, code: str, message: str, fix: str, *, whole_file: bool = False):
        assert code in CODES, code
        super().__init__(message)
        self.code, self.message, self.fix, self.whole_file = code, message, fix, whole_file


class Problems:
    """How many problems there are of each kind, and the first ones of every kind; `on_each` sees them all."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.whole_file = False
        self.on_each: Callable[[Problem, Any], None] = lambda problem, row: None
        self._kept: dict[str, list[Problem]] = {}
        self._files: dict[str, int] = {}

    @property
    def total(self) -> int:
        return self.counts.total()

    def add(self, file: str, row: int, error: RowError, content: Any = None) -> None:
        """Note a problem. `content` is the row as far as it could be read; row 0 means the whole file."""
        problem = Problem(file, row, error.code, error.message, error.fix)
        self._files.setdefault(file, len(self._files))
        self.counts[error.code] += 1
        self.whole_file |= error.whole_file or row == 0
        kept = self._kept.setdefault(error.code, [])
        if len(kept) < SHOWN_PROBLEMS:
            kept.append(problem)
        self.on_each(problem, content)

    @property
    def first(self) -> list[Problem]:
        """Up to 20 problems, by file and row. A kind of defect that is everywhere does not hide the others."""
        chosen: list[Problem] = []
        for rank in range(SHOWN_PROBLEMS):
            chosen += [kept[rank] for kept in self._kept.values() if rank < len(kept)]
        return sorted(chosen[:SHOWN_PROBLEMS], key=lambda problem: (self._files[problem.file], problem.row))
