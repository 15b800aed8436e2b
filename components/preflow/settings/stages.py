"""The stages section: sDPO trains on the data part by part."""

from typing import Literal

from preflow.settings.section import Section, setting


class StagesSettings(Section):
    count: int = setting(2, "T, parts of the data", source="sDPO section 4: T = 2", ge=2, le=10)
    by: Literal["difficulty", "source"] = setting(
        "difficulty",
        "difficulty: pairs by the start model's log-prob margin per token, easy first; source: whole sources, by the share "
        "of their pairs that the start model ranks right",
        source="sDPO v2 sorts sources; with one source only pairs can be sorted",
    )
    control: bool = setting(
        True,
        "also train once on all data with beta / T, which moves as far: does staging help beyond that?",
        source="at convergence T stages with beta equal one with beta / T",
    )


class StageSettings(Section):
    """What the step `split_stages` receives."""

    by: Literal["difficulty", "source"] = setting("difficulty", "as in stages", source="stages")
    index: int = setting(0, "which part, from 0", source="the graph", ge=0)
    count: int = setting(2, "parts in all", source="stages", ge=2)
