"""The convert section: rows of one kind become rows of another, where that means something."""

from typing import Literal

from preflow.settings.section import Section, setting


class ConvertOptions(Section):
    threshold: float | Literal["mean", "median"] = setting(
        "mean", "scores above it are desirable (scored to labelled)", source="KTO appendix: mean of the scores"
    )
    seed: int = setting(
        0, "the order of the rows: labels are mixed", source="batches of one label bias the reference point", ge=0
    )


class ConvertSettings(ConvertOptions):
    """What the step `convert` receives."""

    to: Literal["labelled", "negatives", "sft", "prompts"] = setting(
        "labelled", "the kind to make", source="the method"
    )
