"""What a check of a cluster found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from preflow.errors import ClusterError


@dataclass(frozen=True)
class Finding:
    """`fix` says what to do, as an imperative; "not checked" is for what this machine may not see."""

    name: str
    state: Literal["ok", "problem", "not checked"]
    found: str
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def not_checked(name: str, why: str, fix: str = "") -> Finding:
    return Finding(name, "not checked", why, fix)


def problem(name: str, text: str) -> Finding:
    """A problem from an error's words: what they end in is the fix."""
    for mark in (". ", "? "):
        found, stop, fix = text.rpartition(mark)
        if found:
            return Finding(name, "problem", found + stop.strip(), fix)
    return Finding(name, "problem", text)


def refuse_problems(findings: Sequence[Finding]) -> None:
    """Raises ClusterError with all problems, one a line."""
    lines = [
        f"{finding.name}: {finding.found} {finding.fix}".strip() for finding in findings if finding.state == "problem"
    ]
    if lines:
        raise ClusterError("\n".join(lines))
