"""Rows of the user's files, checked, split and identified, in one pass that holds a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from preflow.artifacts.ids import completion_id, content_id, pair_id, prompt_id
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS, Kind
from preflow.errors import Problem
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.checks import check_lengths, check_record
from preflow.steps.import_data.duplicates import Seen, Votes
from preflow.steps.import_data.numbers import Numbers
from preflow.steps.import_data.readers import RawRow, RowError, read_file
from preflow.steps.import_data.shapes import Record, to_record
from preflow.text.tokenizer import Tokenizer

ROWS_AT_ONCE = 1024
SHOWN_PROBLEMS = 20
KINDS: dict[str, Kind] = {"prompts": PROMPTS, "pairs": PAIRS, "sft": COMPLETIONS}


@dataclass(frozen=True)
class SourceFile:
    """A file to read; `name` is what messages call it, `split` is heldout for files that are held out as a whole."""

    path: Path
    name: str
    split: str | None = None


@dataclass
class Problems:
    """The first problems found, and how many there were; `on_each` sees every one."""

    first: list[Problem] = field(default_factory=list)
    total: int = 0
    on_each: Callable[[Problem, Any], None] = lambda problem, row: None

    def add(self, problem: Problem, row: Any = None) -> None:
        self.total += 1
        if len(self.first) < SHOWN_PROBLEMS:
            self.first.append(problem)
        self.on_each(problem, row)


@dataclass
class _Read:
    """A record with its place, its id and its lengths in tokens."""

    record: Record
    file: SourceFile
    row: int
    raw: Any
    prompt_id: str
    prompt_tokens: int = 0
    completion_tokens: dict[str, int] = field(default_factory=dict)


class Importer:
    """Reads `files`; `rows()` yields rows of the artifact's kind, problems and numbers gather on the way."""

    def __init__(self, files: Sequence[SourceFile], settings: ImportSettings, tokenizer: Tokenizer | None, progress: Callable[[int], None] = lambda done: None):
        self.files, self.settings, self.tokenizer, self.progress = files, settings, tokenizer, progress
        self.problems, self.numbers, self.seen = Problems(), Numbers(), Seen(settings)
        self.kind = KINDS[settings.kind]
        self.rows_read = 0
        self._train_prompts: set[bytes] = set()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows that passed every check, in the files' order."""
        if self.settings.duplicates == "aggregate":
            for _ in self._checked(report=True):
                pass
            self.rows_read = 0
            for read in self._checked(report=False):
                if votes := self.seen.votes(read.prompt_id, read.record):
                    yield self._row(read, votes)
            return
        for read in self._checked(report=True):
            yield self._row(read, None)

    def _checked(self, report: bool) -> Iterator[_Read]:
        """`report` is False on the second pass over the same files, whose problems and votes are known."""
        for file in self.files:
            raw_rows = iter(read_file(file.path))
            empty = True
            while chunk := list(islice(raw_rows, ROWS_AT_ONCE)):
                empty = False
                self.rows_read += len(chunk)
                yield from self._check_chunk(file, chunk, report)
                self.progress(self.rows_read)
            if empty and report:
                self.problems.add(Problem(file.name, 0, "empty_file", "no rows.", "Check the path, or the export that wrote it."))

    def _check_chunk(self, file: SourceFile, chunk: list[RawRow], report: bool) -> Iterator[_Read]:
        reads = []
        for raw in chunk:
            try:
                if isinstance(raw.content, RowError):
                    raise raw.content
                record = to_record(raw.content, self.settings)
                check_record(record, self.settings)
                reads.append(_Read(record, file, raw.number, raw.content, prompt_id(record.prompt)))
            except RowError as error:
                self._problem(file, raw.number, error, raw.content, report)
        self._measure(reads)
        for read in reads:
            try:
                if self.tokenizer:
                    check_lengths(read.record, read.prompt_tokens, read.completion_tokens, self.tokenizer)
                if report:
                    self.seen.add(read.prompt_id, read.record, read.row)
                    self._refuse_leak(read)
            except RowError as error:
                self._problem(read.file, read.row, error, read.raw, report)
            else:
                yield read

    def _problem(self, file: SourceFile, row: int, error: RowError, raw: Any, report: bool) -> None:
        if report:
            self.problems.add(Problem(file.name, row, error.code, error.message, error.fix), raw)

    def _measure(self, reads: list[_Read]) -> None:
        """Token lengths, encoded in parallel."""
        if not self.tokenizer or not reads:
            return
        prompts = self.tokenizer.encode_prompts([read.record.prompt for read in reads])
        texts = [text for read in reads for text in read.record.completions.values()]
        lengths = iter([len(ids) for ids in self.tokenizer.encode_completions(texts)])
        for read, prompt in zip(reads, prompts, strict=True):
            read.prompt_tokens = len(prompt)
            read.completion_tokens = {name: next(lengths) for name in read.record.completions}

    def split_of(self, read: _Read) -> str:
        """The user's split if there is one, else by the prompt's hash: rows that are added move no prompt."""
        if read.file.split:
            return read.file.split
        if read.record.split:
            return read.record.split
        share = int(read.prompt_id[:8], 16) / 0x1_0000_0000
        return "heldout" if share < self.settings.heldout_fraction else "train"

    def _refuse_leak(self, read: _Read) -> None:
        """A prompt on both sides would make held-out numbers worthless. Split by hash, it cannot be."""
        if not (read.file.split or read.record.split or self._train_prompts):
            return
        key = bytes.fromhex(read.prompt_id)
        if self.split_of(read) == "train":
            self._train_prompts.add(key)
        elif key in self._train_prompts:
            raise RowError("prompt_in_both_splits", "a held-out prompt that is a training prompt, too.", "Remove it from one side, or let the prompt's hash decide.")

    def _row(self, read: _Read, votes: Votes | None) -> dict[str, Any]:
        split = self.split_of(read)
        if self.tokenizer:
            limits = (self.tokenizer.max_prompt_tokens, self.tokenizer.room_for_completion(min(read.prompt_tokens, self.tokenizer.max_prompt_tokens)))
            self.numbers.add(read.record, split, read.prompt_tokens, read.completion_tokens, limits)
        shared = {"prompt_id": read.prompt_id, "prompt": read.record.prompt, "source": read.record.source, "split": split}
        if self.settings.kind == "prompts":
            return {**shared, "answer": read.record.answer}
        if self.settings.kind == "sft":
            return shared | self._demonstration(read)
        return shared | self._pair(read, votes)

    def _demonstration(self, read: _Read) -> dict[str, Any]:
        text = read.record.completions["target"]
        identity = completion_id(read.prompt_id, text, "human")
        index = self.seen.occurrence(identity) if self.settings.duplicates == "keep" else 0
        return {"completion_id": completion_id(read.prompt_id, text, "human", index), "sample_index": index, "text": text, "source": "human"}

    def _pair(self, read: _Read, votes: Votes | None) -> dict[str, Any]:
        sides = dict(read.record.completions)
        scores = dict(zip(("chosen", "rejected"), read.record.scores, strict=True))
        preference, weight = (votes.preference, votes.weight) if votes else (1.0, 1.0)
        if preference < 0.5:  # most annotators prefer the other side
            sides, scores = _swapped(sides), _swapped(scores)
            preference = 1 - preference
        ids = {side: completion_id(read.prompt_id, text, "human") for side, text in sides.items()}
        identity = pair_id(read.prompt_id, ids["chosen"], ids["rejected"])
        if self.settings.duplicates == "keep" and (again := self.seen.occurrence(identity)):
            identity = content_id("pair", identity, again)
        return {
            "pair_id": identity,
            "chosen": sides["chosen"],
            "rejected": sides["rejected"],
            "chosen_id": ids["chosen"],
            "rejected_id": ids["rejected"],
            "chosen_score": scores["chosen"],
            "rejected_score": scores["rejected"],
            "preference": preference,
            "weight": weight,
        }


def _swapped(sides: dict[str, Any]) -> dict[str, Any]:
    return {"chosen": sides["rejected"], "rejected": sides["chosen"]}


def check_files(files: Sequence[SourceFile], settings: ImportSettings, tokenizer: Tokenizer | None, progress: Callable[[int], None] = lambda done: None) -> Problems:
    """All problems of the files, nothing written: what `preflow check` does, and `import_data` before anything is published."""
    importer = Importer(files, settings, tokenizer, progress)
    for _ in importer.rows():
        pass
    return importer.problems
