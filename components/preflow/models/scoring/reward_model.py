"""A trained reward model as the scorer, scalar or pairwise. Both give log-odds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from preflow.artifacts.draws import uniforms
from preflow.models.load import use_all_cores
from preflow.models.reward_model import Answer, RewardModel, sigmoid
from preflow.models.scoring.interface import SORTED_TOGETHER, Asked, Scoring
from preflow.selection.pointwise import order_average, pointwise_reward
from preflow.settings.score import ScoreSettings


def open_scorer(path: str | Path, settings: ScoreSettings) -> Scoring:
    """The reward model of the folder `path`. Raises ModelError for another folder."""
    use_all_cores()
    model = RewardModel(path, settings.dtype, settings.micro_batch_tokens)
    return RewardScoring(model) if model.head == "scalar" else RankerScoring(model, settings.seed)


class RewardScoring(Scoring):
    """The reward of a scalar reward model."""

    def __init__(self, model: RewardModel):
        self.model, self.name, self.at_once = model, f"{model.digest[:12]}:scalar", SORTED_TOGETHER

    def scores(self, asked: Sequence[Asked]) -> list[float]:
        return self.model.rewards([_answer(each) for each in asked])


class RankerScoring(Scoring):
    """The log-odds of winning against one candidate of the same prompt, by a pairwise reward model asked in both orders
    (RSO, arXiv 2309.06657, section 3.2). That candidate, the baseline, has 0."""

    needs_candidates = True

    def __init__(self, model: RewardModel, seed: int):
        self.model, self.seed, self.at_once = model, seed, SORTED_TOGETHER
        self.name = f"{model.digest[:12]}:pairwise"
        self.baselines: Mapping[str, Asked] = {}

    def look_at(self, candidates: Iterable[tuple[str, Asked]]) -> None:
        """Draw each prompt's baseline from its candidates, by (seed, prompt_id), whatever their order."""
        found: dict[str, tuple[float, Asked]] = {}
        for identity, asked in candidates:
            draw = uniforms(1, "baseline", self.seed, asked.prompt_id, identity)[0]
            if asked.prompt_id not in found or draw < found[asked.prompt_id][0]:
                found[asked.prompt_id] = draw, asked
        self.baselines = {prompt: asked for prompt, (_, asked) in found.items()}

    def scores(self, asked: Sequence[Asked]) -> list[float]:
        pairs = [(_answer(each), _answer(self.baselines[each.prompt_id])) for each in asked]
        logits = self.model.first_wins([*pairs, *((second, first) for first, second in pairs)])
        there, back = logits[: len(pairs)], logits[len(pairs) :]
        return [
            0.0 if first == second else pointwise_reward(order_average(sigmoid(ahead), sigmoid(behind)))
            for (first, second), ahead, behind in zip(pairs, there, back, strict=True)  # equal texts: no rounding
        ]


def _answer(asked: Asked) -> Answer:
    return Answer(asked.prompt, asked.text, asked.finished)
