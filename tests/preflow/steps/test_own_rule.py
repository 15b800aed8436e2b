"""Pairs by a rule from a file of the user's own."""

from pathlib import Path
from typing import Any

import pytest

from candidate_rows import HANDS, Table
from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import PAIRS
from preflow.errors import OwnCodeError
from preflow.settings.pairs import PairsSettings
from preflow.steps.build_pairs import step as build_pairs
from preflow.steps.kit import Step

RULES = """def ends(scores, order):
    best = max(order, key=lambda place: scores[place])
    return [(best, min(order, key=lambda place: scores[place]))]


def same(scores, order):
    return [(0, 0)]


def beyond(scores, order):
    return [(0, 9)]


def no_pairs(scores, order):
    return 3


def raises(scores, order):
    return scores["first"]
"""


def build(table: Table, rule: str, **settings: Any) -> list[dict[str, Any]]:
    (table.folder / "my_rules.py").write_text(RULES)
    options = PairsSettings(rule=rule, **settings)
    own = str(table.folder / "my_rules.py") if ":" in rule else None
    build_pairs.run(
        Step.detached(table.folder, options.canonical()),
        prompts=table.path("prompts"),
        completions=table.path("completions"),
        pairs=table.path("pairs"),
        numbers=table.path("numbers"),
        rule_file=own,
    )
    return list(read_rows(table.path("pairs"), PAIRS))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = Table(tmp_path, HANDS, prompts=2)
    table.write("completions", HANDS, [1.0, 3.0, 2.0])
    return table


def test_its_pairs_are_rows_as_ours_are(table: Table) -> None:
    own, ours = build(table, "rule_file:ends"), build(table, "best_worst")
    assert own == ours and len(own) == 2
    assert (own[0]["chosen"], own[0]["rejected"]) == (HANDS[1], HANDS[0])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "same",
            r"my_rules.py: same, for prompt \w+, returned the pair \(0, 0\), expected two different places from 0 to 2",
        ),
        ("beyond", r"returned the pair \(0, 9\)"),
        ("no_pairs", r"returned 3, expected pairs of places. Return \[\(chosen, rejected\), ...\]"),
        ("raises", "my_rules.py line 19: TypeError: .* Mend the function"),
    ],
)
def test_mistakes_name_the_file_and_the_line(table: Table, rule: str, words: str) -> None:
    with pytest.raises(OwnCodeError, match=words):
        build(table, f"rule_file:{rule}")
