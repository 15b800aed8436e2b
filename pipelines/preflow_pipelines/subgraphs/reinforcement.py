"""Reinforcement learning: sampling, scoring and training in one step, again and again."""

from typing import Any

from preflow.steps.train_rl.component import train_rl
from preflow_pipelines.subgraphs.context import Context


def reinforced(run: Context, prompts: Any, model: Any, reward_model: Any = None) -> Any:
    """The training task: from `model`, which is the reference too, on the word of the run file's scorer or the reward model."""
    scorer = run.input("scorer") if run.has("scorer") else reward_model
    return train_rl(
        prompts=prompts,
        model=model,
        tokenizer=run.input("tokenizer"),
        scorer=scorer,
        settings=run.section("rl"),
        key="",
    )
