"""Rows of the user's files, checked, split and identified, in one pass that holds a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from preflow.artifacts.ids import prompt_id
from preflow.artifacts.kinds import Kind
from preflow.errors import DataError, ModelError
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.checks import check_lengths, check_record
from preflow.steps.import_data.columns import ALIASES
from preflow.steps.import_data.duplicates import Seen
from preflow.steps.import_data.facts import Facts
from preflow.steps.import_data.numbers import Numbers
from preflow.steps.import_data.problems import Problems, RowError
from preflow.steps.import_data.readers import RawRow, has_header, read_file
from preflow.steps.import_data.rows import KINDS, RowMaker
from preflow.steps.import_data.shapes import Record, to_record
from preflow.steps.import_data.sides import Sides
from preflow.text.tokenizer import Tokenizer

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class SourceFile:
    """A file to read; `name` is what messages call it, `split` is heldout for files that are held out as a whole."""

    path: Path
    name: str
    split: str | None = None


@dataclass(slots=True)
class _Read:
    """A record with its place, its id and its lengths in tokens."""

    record: Record
    place: str
    row: int
    raw: Any
    prompt_id: str
    split: str
    prompt_tokens: int = 0
    completion_tokens: dict[str, int] = field(default_factory=dict)


class Importer:
    """Reads `files`; `rows()` yields rows of the artifact's kind, problems and numbers gather on the way.

    Without a tokenizer nothing is said about lengths. `progress` is called with the number of rows read so far.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        settings: ImportSettings,
        tokenizer: Tokenizer | None,
        progress: Callable[[int], None] = lambda done: None,
    ):
        self.files, self.settings, self.tokenizer, self.progress = files, settings, tokenizer, progress
        self.problems, self.numbers, self.seen, self.facts = Problems(), Numbers(), Seen(settings), Facts()
        self.kind: Kind = KINDS[settings.kind]
        self.rows_read = 0
        self.rows_passed = 0
        self._sides = self._new_sides()
        self._make = RowMaker(settings.kind, self.seen)

    def _new_sides(self) -> Sides:
        has_heldout_files = any(file.split for file in self.files)
        by_user = has_heldout_files or self.settings.split_column or any(file.path.is_dir() for file in self.files)
        return Sides(0.0 if has_heldout_files else self.settings.heldout_fraction, watched=bool(by_user))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows that passed every check, in the files' order."""
        if self.settings.duplicates != "aggregate":
            for read in self._checked(report=True):
                self._count(read)
                yield from self._make(read.prompt_id, read.record, read.split)
            return
        self.check()
        self.refuse()
        self.rows_read, self._sides = 0, self._new_sides()
        for read in self._checked(report=False):
            if votes := self.seen.votes(read.prompt_id, read.record):
                if votes.preference < 0.5:  # most annotators prefer the other side
                    read = _swapped(read)
                self._count(read)
                preference = max(votes.preference, 1 - votes.preference)
                yield from self._make(read.prompt_id, read.record, read.split, preference, votes.weight)

    def check(self) -> None:
        """Find the problems, and what the rows are together, without making rows."""
        for read in self._checked(report=True):
            self.facts.add(read.prompt_id, read.record, read.split)

    def _count(self, read: _Read) -> None:
        if self.tokenizer:
            prompt_limit = self.tokenizer.max_prompt_tokens
            limits = (prompt_limit, self.tokenizer.room_for_completion(min(read.prompt_tokens, prompt_limit)))
            self.numbers.add(read.record, read.split, read.prompt_tokens, read.completion_tokens, limits)

    def _checked(self, report: bool) -> Iterator[_Read]:
        """`report` is False on the second pass over the same files, whose problems and votes are known."""
        for file in self.files:
            raw_rows = read_file(file.path)
            first = list(islice(raw_rows, ROWS_AT_ONCE))
            if not first:
                error = RowError("empty_file", "no rows.", "Check the path, or the export that wrote it.")
                self._problem(file, RawRow(0, error), error, report)
            implicit_texts = not any(isinstance(raw.content, dict) and _has_prompt(raw.content) for raw in first)
            chunks = chain([first], iter(lambda rows=raw_rows: list(islice(rows, ROWS_AT_ONCE)), []))  # type: ignore[misc]
            for chunk in chunks:
                self.rows_read += len(chunk)
                try:
                    yield from self._check_chunk(file, chunk, implicit_texts, report)
                except _GiveUpError:
                    break
                self.progress(self.rows_read)

    def _check_chunk(
        self, file: SourceFile, chunk: list[RawRow], implicit_texts: bool, report: bool
    ) -> Iterator[_Read]:
        reads = []
        for raw in chunk:
            try:
                reads.append(self._read(file, raw, implicit_texts))
            except RowError as error:
                if error.code == "missing_column" and raw.number == 1 and has_header(file.path):
                    error.whole_file = True
                    self._problem(file, raw, error, report)
                    raise _GiveUpError from None
                self._problem(file, raw, error, report)
        for read in self._measured(file, reads, report):
            try:
                if self.tokenizer:
                    check_lengths(read.record, read.prompt_tokens, read.completion_tokens, self.tokenizer)
                self._sides.add(read.prompt_id, read.split)
                is_new = not report or self.seen.add(read.prompt_id, read.record, read.place, read.row)
            except RowError as error:
                self._problem_of(read, error, report)
            else:
                if is_new or self.settings.kind != "prompts":  # an equal prompt is the same prompt
                    self.rows_passed += 1
                    yield read

    def _read(self, file: SourceFile, raw: RawRow, implicit_texts: bool) -> _Read:
        if isinstance(raw.content, RowError):
            raise raw.content
        record = to_record(raw.content, self.settings, implicit_texts)
        check_record(record, self.settings)
        identity = prompt_id(record.prompt)
        split = self._sides.of(identity, file.split or record.split)
        return _Read(record, _place(file, raw), raw.number, raw.content, identity, split)

    def _problem(self, file: SourceFile, raw: RawRow, error: RowError, report: bool) -> None:
        if report:
            self.problems.add(_place(file, raw), raw.number, error, raw.content if raw.text is None else raw.text)

    def _problem_of(self, read: _Read, error: RowError, report: bool) -> None:
        if report:
            self.problems.add(read.place, read.row, error, read.raw)

    def _measured(self, file: SourceFile, reads: list[_Read], report: bool) -> list[_Read]:
        """The rows that the chat template takes, with their lengths in tokens, encoded in parallel."""
        if not self.tokenizer or not reads:
            return reads
        try:
            prompts = self.tokenizer.encode_prompts([read.record.prompt for read in reads])
        except ModelError:
            reads, prompts = self._rendered_one_by_one(reads, report)
        texts = [text for read in reads for text in read.record.completions.values()]
        lengths = iter([len(ids) for ids in self.tokenizer.encode_completions(texts)])
        for read, prompt in zip(reads, prompts, strict=True):
            read.prompt_tokens = len(prompt)
            read.completion_tokens = {name: next(lengths) for name in read.record.completions}
        return reads

    def _rendered_one_by_one(self, reads: list[_Read], report: bool) -> tuple[list[_Read], list[list[int]]]:
        assert self.tokenizer
        good, prompts = [], []
        for read in reads:
            try:
                prompts.append(self.tokenizer.encode_prompt(read.record.prompt))
                good.append(read)
            except ModelError as error:
                fix = "Mend the order of the roles, or give another template (text.template: none | FILE)."
                self._problem_of(read, RowError("template_refused", str(error).split(". Mend")[0] + ".", fix), report)
        return good, prompts

    def refuse(self) -> None:
        """Raises DataError if what was found does not let the data through, as `on_bad_row` says."""
        problems = self.problems
        nothing_left = problems.total and not self.rows_passed
        if problems.total and (self.settings.on_bad_row == "stop" or problems.whole_file or nothing_left):
            raise DataError(problems.first, problems.total)


class _GiveUpError(Exception):
    """Nothing more is to be learned from a file."""


def _place(file: SourceFile, raw: RawRow) -> str:
    return f"{file.name}/{raw.part}" if raw.part else file.name


def _has_prompt(row: dict[str, Any]) -> bool:
    return any(alias in row for alias in ALIASES["prompt"])


def _swapped(read: _Read) -> _Read:
    record, tokens = read.record, read.completion_tokens
    sides = {"chosen": record.completions["rejected"], "rejected": record.completions["chosen"]}
    if tokens:
        tokens = {"chosen": tokens["rejected"], "rejected": tokens["chosen"]}
    return replace(
        read, record=replace(record, completions=sides, scores=record.scores[::-1]), completion_tokens=tokens
    )


def check_files(
    files: Sequence[SourceFile],
    settings: ImportSettings,
    tokenizer: Tokenizer | None,
    progress: Callable[[int], None] = lambda done: None,
) -> Facts:
    """What `preflow check` does: all checks of the step `import_data`, nothing written. Raises DataError as the step does.

    Returns what the rows are together that pass.
    """
    importer = Importer(files, settings, tokenizer, progress)
    importer.check()
    importer.refuse()
    return importer.facts
