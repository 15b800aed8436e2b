"""Which judge a step asks: a function of the user's, a preference matrix, a language model, the trained reward model."""

import os
from pathlib import Path

from preflow.artifacts.ids import content_id
from preflow.errors import SettingsError
from preflow.models.judge_llm import LLMJudge
from preflow.models.judges import FunctionJudge, Judge, MatrixJudge
from preflow.settings.judge import EndpointSettings, JudgeSettings
from preflow.steps.kit import Step

FIX = "Name it in the run file's judge section."


def open_judge(step: Step, settings: JudgeSettings, judge: str | None, reward_model: str | None) -> Judge:
    """The judge that the settings name; `judge` is its file, `reward_model` a folder.

    Raises SettingsError for one that is missing, ScorerError and ModelError for one that cannot be used.
    """
    if settings.kind == "endpoint":
        return _endpoint(step, settings.endpoint)
    if settings.kind == "reward_model":
        if reward_model is None:
            raise SettingsError(
                "judge of kind reward_model: no reward model was given. Expected one that the workflow trains. Add the "
                "section reward_model to the run file."
            )
        from preflow.models.reward_model import RewardModelJudge  # torch: seconds that the other judges do without

        return RewardModelJudge(reward_model)
    if judge is None:
        raise SettingsError(f"judge of kind {settings.kind}: no file was given. Expected the judge's own file. {FIX}")
    if settings.kind == "matrix":
        return MatrixJudge.load(judge)
    return FunctionJudge(judge, settings.function, settings.batch_size)


def _endpoint(step: Step, endpoint: EndpointSettings | None) -> LLMJudge:
    if endpoint is None:
        raise SettingsError("judge of kind endpoint: no endpoint was given. Expected its url and model. " + FIX)
    return LLMJudge(endpoint, answers_file(step, endpoint))


def answers_file(step: Step, endpoint: EndpointSettings) -> Path:
    """Where a model's answers are kept: outside of artifacts and runs, so that a retry or a rerun never pays twice."""
    home = os.environ.get("PREFLOW_HOME") or str(step.journal_path.parent)
    return Path(home) / "answers" / f"{content_id('answers', endpoint.model)}.jsonl"
