"""The rounds section: how often a policy is sampled and trained on what it wrote."""

from typing import Literal

from preflow.settings.section import Section, setting


class RoundsSettings(Section):
    count: int = setting(3, "rounds, unrolled when the pipeline is compiled", source="DNO, SPPO: T = 3", ge=1, le=20)
    prompts: Literal["shards", "all"] = setting(
        "shards", "each round on its own share of the prompts, or on all", source="DNO section 5, SPPO section 5"
    )
    reference: Literal["previous", "start"] = setting(
        "previous",
        "what each round is held against: the policy that sampled, or the start model",
        source="DNO algorithm 2",
    )
