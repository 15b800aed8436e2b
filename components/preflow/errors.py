"""The exception tree.

PreflowError                 the user's mistake: printed without a traceback, exit code 2
├── SettingsError            a run file or an option is wrong
├── DataError                rows of an input are wrong; carries a list of problems
├── ArtifactError            an artifact is damaged, unfinished or of another kind
├── ScorerError              a scorer or judge cannot be loaded, or answered with something that is no score
├── OwnCodeError             a loss or rule of the user's own cannot be loaded, failed, or returned something else
├── ModelError               a model folder or tokenizer cannot be used
├── BucketError              an object store refuses, lacks the object, or does not answer
├── ClusterError             a cluster, or a part of it, is not as a run needs it
└── CodeChangedError         the code of a step is not the code its key was made from

Every message has three parts: what was found (file, row, value), what was expected, what to do.
Broken invariants of our own are `assert`s, never one of these.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


class PreflowError(Exception):
    """A mistake that the user can mend; the command line prints the message alone and exits with 2."""


class SettingsError(PreflowError):
    """A run file, a `--set` override or a settings section is wrong."""


class ArtifactError(PreflowError):
    """An artifact is damaged, unfinished, or of another kind than the one asked for."""


class ScorerError(PreflowError):
    """A scorer cannot be loaded, or returned something that is not a finite number per completion."""


class OwnCodeError(PreflowError):
    """A loss or rule in a file of the user's cannot be loaded, raised an error, or returned what is none."""


class ModelError(PreflowError):
    """A model folder lacks something, or holds something that cannot be used safely."""


class BucketError(PreflowError):
    """An object store does not answer, refuses the credentials, or lacks the bucket or object."""


class ClusterError(PreflowError):
    """A cluster does not answer, refuses, or lacks what a run needs: namespace, node, image, secret, MLflow.

    `status` is the HTTP status of a refusal. `in_doubt`: what was asked for may have been done all the same."""

    def __init__(self, text: str, status: int | None = None, in_doubt: bool = False):
        super().__init__(text)
        self.status, self.in_doubt = status, in_doubt


class CodeChangedError(PreflowError):
    """The code of a step differs from the code that its key names."""


@dataclass(frozen=True)
class Problem:
    """One defect of an input file.

    `row` counts data rows from 1 (for line-based files it is the line number); 0 means the whole file.
    `code` is a stable short name such as `missing_column`; `fix` says what to do, as an imperative.
    """

    file: str
    row: int
    code: str
    message: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.file} row {self.row}" if self.row else self.file
        return f"{where}: {self.message} {self.fix}"

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


class DataError(PreflowError):
    """Rows of an input are wrong. `problems` holds the first ones found, `total` how many there were."""

    def __init__(self, problems: Sequence[Problem], total: int | None = None):
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        lines = [str(problem) for problem in self.problems]
        if self.total > len(self.problems):
            lines.append(f"... and {self.total - len(self.problems)} more rows with problems.")
        return lines


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the known word that is closest, with its space; "" where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
