"""Pairs that a policy's own samples make: sample, score, reject, pair."""

from typing import Any

from preflow.settings.pairs import RULE_FILE
from preflow.steps.build_pairs.component import build_pairs
from preflow.steps.generate_candidates.component import generate_candidates
from preflow.steps.judge_candidates.component import judge_candidates
from preflow.steps.rejection_sample.component import rejection_sample
from preflow.steps.score_candidates.component import score_candidates
from preflow_pipelines.subgraphs.context import Context


def on_policy_pairs(run: Context, prompts: Any, model: Any, reward_model: Any = None) -> Any:
    """The pairs/v1 artifact: of the samples that rejection sampling accepts, by their scores or by a judge."""
    sampled = samples(run, prompts, model)
    scores = scored(run, prompts, sampled, reward_model)
    accepted = rejection_sample(scored=scores, settings=run.section("rejection"), key="").outputs["accepted"]
    return paired(run, prompts, accepted, reward_model)


def compared(run: Context, prompts: Any, completions: Any, teacher: Any = None, reward_model: Any = None) -> Any:
    """Training rows from candidates, which a judge compares with each other or a scorer scores one by one."""
    more = {"teacher": teacher} if teacher is not None else {}
    if not run.has("score"):
        return paired(run, prompts, completions, reward_model, **more)
    return paired(run, prompts, scored(run, prompts, completions, reward_model, **more), reward_model)


def samples(run: Context, prompts: Any, model: Any) -> Any:
    """Candidates of every prompt, from `model`."""
    task = generate_candidates(
        prompts=prompts, model=model, tokenizer=run.input("tokenizer"), settings=run.section("generate"), key=""
    )
    return task.outputs["completions"]


def scored(run: Context, prompts: Any, completions: Any, reward_model: Any = None, **more: Any) -> Any:
    """The candidates with scores: of the run file's scorer, or of the reward model that the workflow trained."""
    scorer = run.input("scorer") if run.has("scorer") else reward_model
    task = score_candidates(
        prompts=prompts, completions=completions, scorer=scorer, settings=run.section("score"), key="", **more
    )
    return task.outputs["scored"]


def judged(run: Context, prompts: Any, completions: Any, reward_model: Any = None, **more: Any) -> Any:
    """Judgments of the candidates, by the run file's judge, which may be the reward model that the workflow trained."""
    asks_model = run.settings("judge").kind == "reward_model"
    given = {"reward_model": reward_model} if asks_model else {}
    given |= {"judge": run.input("pair_judge")} if run.has("pair_judge") else {}
    task = judge_candidates(
        prompts=prompts, completions=completions, settings=run.section("judge"), key="", **given, **more
    )
    return task.outputs["judgments"]


def paired(run: Context, prompts: Any, completions: Any, reward_model: Any = None, **more: Any) -> Any:
    """Training rows from candidates, by a judge's word where the run file has a judge, else by their scores."""
    asked = run.plan.run_file.judge is not None  # an input of this name is there always: the evaluation's judge
    given = {"judgments": judged(run, prompts, completions, reward_model, **more)} if asked else {}
    given |= {RULE_FILE: run.input(RULE_FILE)} if run.has(RULE_FILE) else {}
    task = build_pairs(prompts=prompts, completions=completions, settings=run.section("pairs"), key="", **given, **more)
    return task.outputs["pairs"]
