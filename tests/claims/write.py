"""Runs every demonstration and writes docs/claims.md from what it measured. `make claims` calls it.

python -m claims.write    with tests/ on the path
"""

import sys
from pathlib import Path

from claims.kit import Claim, claim_names, demonstrate
from preflow.methods.catalogue import catalogue

TARGET = Path(__file__).parents[2] / "docs" / "claims.md"
HEAD = """# Claims

What the methods' papers claim, tried on this implementation's own losses and selection functions, in worlds that are
small enough to know the right answer. Written by `make claims` from an actual run; thresholds are constants of
tests/claims/<method>.py, set before the first run. Where there is chance, numbers are means over seeds unless they say
otherwise. Small worlds show that an implementation does what a paper says it does, not that a model of yours improves.
"""


def table(claims: list[Claim]) -> str:
    rows = [
        f"| `{c.method}` | {c.claim} | {c.baseline} | {'<br>'.join(c.numbers.split('; '))} | {c.threshold} | {verdict(c)} |"
        for c in claims
    ]
    return "\n".join(
        ["| method | claim | against | measured | threshold | verdict |", "|---|---|---|---|---|---|", *rows]
    )


def verdict(claim: Claim) -> str:
    """The numbers stand in the row already."""
    return claim.verdict.partition(":")[0]


def main() -> None:
    missing = sorted(set(catalogue()) - set(claim_names()))
    if missing:
        sys.exit(f"no demonstration for {', '.join(missing)}. Write tests/claims/<method>.py.")
    found = []
    for method in claim_names():
        found.append(demonstrate(method))
        print(f"{method:12} {found[-1].verdict}", flush=True)
    TARGET.write_text(f"{HEAD}\n{table(found)}\n", encoding="utf-8")
    print(f"written: {TARGET.name}, {sum(c.holds for c in found)} of {len(found)} claims reproduced")


if __name__ == "__main__":
    main()
