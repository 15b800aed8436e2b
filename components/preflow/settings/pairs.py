"""The pairs section: how candidates that were scored or judged become training rows."""

import difflib
from typing import Literal, Self

from pydantic import field_validator

from preflow.settings.own_code import names_a_file
from preflow.settings.section import Section, setting

EFFECTIVE: dict[str, frozenset[str]] = {
    "first_round": frozenset({"min_margin", "seed", "labels"}),
    "best_worst": frozenset({"min_margin", "labels", "rank_by"}),
    "tournament": frozenset({"min_margin", "seed", "labels"}),
    "random": frozenset({"min_margin", "seed", "labels", "num_pairs"}),
    "all_above_margin": frozenset({"min_margin", "labels"}),
    "dno": frozenset({"labels", "min_positive", "teacher_margin", "student_margin", "max_repeated_share"}),
    "sppo": frozenset({"labels", "rank_by"}),
    "spo": frozenset({"advantage"}),
}
"""The settings that a rule reads; any other one has no effect with it."""
OF_OWN_RULES = frozenset({"min_margin", "seed", "labels", "rank_by"})
RULE_FILE = "rule_file"
"""In place of a rule's name: the input with a rule of the user's own."""
MAKES_COMPLETIONS = frozenset({"spo"})
"""Rules whose rows are completions; those of all others are pairs."""


class PairsSettings(Section):
    """A candidate's value is its score or, where candidates were judged, its mean win rate against the others."""

    rule: str = setting(
        "first_round",
        "first_round: disjoint pairs of shuffled candidates; best_worst: one pair per prompt; tournament: every match of a "
        "knock-out; random: num_pairs of all pairs; all_above_margin: all pairs; dno: all pairs with a good positive and a "
        "margin; sppo: best and worst with their win rates; spo: no pairs, every candidate with its advantage; FILE.py:FUNCTION: your own",
        source="RSO section 3.3",
    )
    min_margin: float = setting(
        0.0, "pairs whose values differ by no more than this are dropped", source="only ties go", ge=0.0
    )
    num_pairs: int | None = setting(
        None,
        "pairs per prompt for rule random; null: as many as candidates",
        source="SLiC-HF draws m pairs of m candidates",
        ge=1,
    )
    rank_by: Literal["win_rate", "mean_score"] = setting(
        "win_rate",
        "what is best and worst among judged candidates: the mean win rate, or the mean log-odds of winning",
        source="win rates need no clipping where a judge is certain",
    )
    labels: Literal["hard", "soft"] = setting(
        "hard",
        "a pair's preference: 1, or P(chosen beats rejected), which losses take as a soft label",
        source="DNO section 5.1 trains on hard labels",
    )
    min_positive: float | None = setting(
        None,
        "smallest value of a chosen text (dno); null: 5, or 0.8 for win rates, which is the same place on their scale",
        source="DNO section 5.1: 5 of a rubric of 1 to 6",
    )
    teacher_margin: float | None = setting(
        None,
        "smallest lead of a teacher's text (dno); null: 2, or 0.4 for win rates",
        source="DNO section 5.1",
        ge=0.0,
    )
    student_margin: float | None = setting(
        None,
        "smallest lead of a policy's text (dno); null: 1, or 0.2 for win rates",
        source="DNO section 5.1",
        ge=0.0,
    )
    max_repeated_share: float = setting(
        0.5,
        "a text with a larger share of its words in repeated 5-grams is a negative (dno)",
        source="0.2 % of UltraFeedback's chosen texts have more",
        ge=0.0,
        le=1.0,
    )
    advantage: Literal["group_mean", "rloo", "grpo"] = setting(
        "group_mean",
        "win rate minus its mean over the prompt's candidates (1/2); minus the others' mean; or by deviations (spo)",
        source="SPO rewards are win rates; their mean is 1/2 for every prompt",
    )
    seed: int = setting(0, "draws are keyed by (seed, prompt_id)", source="fixed", ge=0)

    @field_validator("rule")
    @classmethod
    def _is_known(cls, rule: str) -> str:
        if rule not in EFFECTIVE and not names_a_file(rule):
            close = difflib.get_close_matches(rule, EFFECTIVE, n=1)
            meant = f"; did you mean {close[0]!r}" if close else ""
            raise ValueError(f"Expected one of {', '.join(EFFECTIVE)}, or FILE.py:FUNCTION{meant}")
        return rule

    @property
    def effective(self) -> frozenset[str]:
        """The settings that its rule reads."""
        return OF_OWN_RULES if names_a_file(self.rule) else EFFECTIVE[self.rule]

    def settings(self) -> Self:
        """What the step receives: a rule of the user's own by the input that its file is, whose name counts for nothing."""
        own = names_a_file(self.rule)
        return self.model_copy(update={"rule": f"{RULE_FILE}:{self.rule.rpartition(':')[2]}"}) if own else self
