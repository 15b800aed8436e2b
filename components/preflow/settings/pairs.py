"""The pairs section: how scored completions become pairs."""

from typing import Literal

from preflow.settings.section import Section, setting


class PairsSettings(Section):
    rule: Literal["first_round", "best_worst"] = setting(
        "first_round",
        "first_round: disjoint pairs of shuffled candidates; best_worst: one pair per prompt",
        source="RSO section 3.3",
    )
    min_margin: float = setting(
        0.0, "pairs whose scores differ by no more than this are dropped", source="only ties go", ge=0.0
    )
    seed: int = setting(0, "the shuffle is keyed by (seed, prompt_id)", source="fixed", ge=0)
