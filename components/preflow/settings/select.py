"""What the step `select_model` receives."""

from preflow.settings.section import Section, setting


class SelectSettings(Section):
    metric: str = setting("eval/win_rate", "a number of the evaluation; higher is better", source="rounds")
