"""The rounds section: how often a policy is sampled and trained on what it wrote."""

from typing import Literal

from preflow.settings.section import Section, setting
from preflow.settings.select import Metric


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
    history_share: float = setting(
        0.0,
        "pairs of the previous round that are trained on again, as a share of them; 0: each round on its own pairs",
        source="SPPO and SPO train on the newest samples",
        ge=0.0,
        le=1.0,
    )
    history_decay: float = setting(
        0.5,
        "every round further back gives this share of what the next one gives",
        source="DNO section 5.1",
        ge=0.0,
        le=1.0,
    )
    keep: Literal["last", "best"] = setting(
        "last",
        "the model of the last round, or the best one by `metric`, for which every round is evaluated",
        source="the last one needs no evaluation of the others",
    )
    metric: Metric = setting(
        "eval/win_rate",
        "a number of the evaluation, by which a round is better; higher is better",
        source="DNO, SPPO and SPO select on validation",
    )
