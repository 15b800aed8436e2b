"""What the step `merge_history` receives: how many pairs of earlier rounds a round trains on again."""

from preflow.settings.section import Section, setting


class HistorySettings(Section):
    round: int = setting(1, "the round whose pairs are new, from 0", source="the graph", ge=1)
    newest_share: float = setting(
        0.3, "of the previous round's own pairs", source="DNO section 5.1: 30 % of iteration t - 1", ge=0.0, le=1.0
    )
    decay: float = setting(
        0.5,
        "every round further back gives this share of what the next one gives",
        source="DNO section 5.1: 15 % of iteration t - 2, halving onward",
        ge=0.0,
        le=1.0,
    )
    seed: int = setting(0, "draws are keyed by (seed, round, the pairs' own round)", source="fixed", ge=0)
