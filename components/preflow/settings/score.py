"""The score section: which function scores a completion. The function's file arrives as an input, by content."""

from typing import Literal

from preflow.settings.section import Section, setting


class ScoreOptions(Section):
    """What the run file says about scoring, beside the scorer itself."""

    unit: Literal["log_odds", "raw"] = setting(
        "raw",
        "log_odds where score differences are log-odds of winning (a Bradley-Terry head); raw: any real number",
        source="RSO's beta lives in log-odds",
    )
    batch_size: int = setting(64, "completions given to the function at once", source="memory", ge=1)


class ScoreSettings(ScoreOptions):
    """What the step `score_candidates` receives."""

    function: str = setting(
        "score", "name of the function in the scorer's file", source="the run file's `scorer: FILE:FUNCTION`"
    )
