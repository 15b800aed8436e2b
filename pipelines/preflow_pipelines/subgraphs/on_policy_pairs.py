"""Pairs that a policy's own samples make: sample, score, reject, pair."""

from typing import Any

from preflow.steps.build_pairs.component import build_pairs
from preflow.steps.generate_candidates.component import generate_candidates
from preflow.steps.rejection_sample.component import rejection_sample
from preflow.steps.score_candidates.component import score_candidates
from preflow_pipelines.subgraphs.context import Context


def on_policy_pairs(run: Context, prompts: Any, model: Any) -> Any:
    """The pairs/v1 artifact."""
    sampled = generate_candidates(
        prompts=prompts, model=model, tokenizer=run.input("tokenizer"), settings=run.section("generate"), key=""
    )
    scored = score_candidates(
        prompts=prompts,
        completions=sampled.outputs["completions"],
        scorer=run.input("scorer"),
        settings=run.section("score"),
        key="",
    )
    accepted = rejection_sample(scored=scored.outputs["scored"], settings=run.section("rejection"), key="")
    paired = build_pairs(
        prompts=prompts, completions=accepted.outputs["accepted"], settings=run.section("pairs"), key=""
    )
    return paired.outputs["pairs"]
