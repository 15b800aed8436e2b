"""What the step `select_model` receives."""

from typing import Literal

from preflow.settings.section import Section, setting

Metric = Literal["eval/win_rate", "eval/judge_score", "eval/reward_accuracy", "eval/reward_margin"]
"""Numbers of the evaluation of which more is better."""


class SelectSettings(Section):
    metric: Metric = setting("eval/win_rate", "a number of the evaluation; higher is better", source="rounds")
