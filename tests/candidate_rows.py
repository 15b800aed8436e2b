"""Prompts and candidates without a model: texts that a test names, as rows of their artifacts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny
from preflow.artifacts.ids import completion_id
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS, JUDGMENTS, PROMPTS
from preflow.settings.judge import JudgeSettings
from preflow.steps.judge_candidates import step as judge_candidates
from preflow.steps.kit import Step
from preflow.tracking.journal import read_journal

BIASED_CIRCLE = [[0.5, 0.75, 0.125], [0.25, 0.5, 0.625], [0.875, 0.375, 0.5]]
"""Rock beats paper, paper beats scissors, scissors beat rock; the solution is (1/6, 1/2, 1/3)."""
HANDS = ["rock, of course", "paper it is", "scissors, then"]


class Table:
    """A folder with the artifacts `prompts` and `completions`: every prompt has the same `texts`, in this order."""

    def __init__(self, folder: Path, texts: Sequence[str], prompts: int = 1, **facets: Any):
        self.folder = folder
        self.prompts = list(tiny.prompt_rows(prompts))
        write_rows(folder / "prompts", PROMPTS, self.prompts)
        self.write("completions", texts, **facets)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def write(self, name: str, texts: Sequence[str], scores: Sequence[float] | None = None, **facets: Any) -> str:
        """Candidates of every prompt; `facets` are columns that all of them share."""
        rows = [
            {
                "completion_id": completion_id(prompt["prompt_id"], text, "p", index),
                "prompt_id": prompt["prompt_id"],
                "sample_index": index,
                "text": text,
                "source": "policy",
                "finish_reason": "stop",
                "score": scores[index] if scores else None,
                **facets,
            }
            for prompt in self.prompts
            for index, text in enumerate(texts)
        ]
        write_rows(self.folder / name, COMPLETIONS, rows)
        return self.path(name)

    def matrix(
        self, preferences: Sequence[Sequence[float]], labels: Sequence[str] = ("rock", "paper", "scissors")
    ) -> str:
        content = {"labels": list(labels), "preferences": [list(each) for each in preferences], "row": "first_word"}
        (self.folder / "matrix.json").write_text(json.dumps(content))
        return self.path("matrix.json")

    def function(self, body: str) -> str:
        """A judge's file; `body` is the expression of one question's answer, in `first` and `second`."""
        code = "def prefer(prompts, firsts, seconds):\n    return [{} for first, second in zip(firsts, seconds)]\n"
        (self.folder / "judge.py").write_text(code.format(body))
        return self.path("judge.py")

    def judge(
        self, judge: str | None, teacher: str | None = None, reward_model: str | None = None, **settings: Any
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """(the judgments, the step's facts). The artifact is `judgments`."""
        if judge and judge.endswith(".json"):
            settings["kind"] = "matrix"
        step = Step.detached(self.folder, JudgeSettings(**settings).canonical(), "judge_candidates")
        judge_candidates.run(
            step,
            prompts=self.path("prompts"),
            completions=self.path("completions"),
            judgments=self.path("judgments"),
            judge=judge,
            reward_model=reward_model,
            teacher=teacher,
        )
        return list(read_rows(self.path("judgments"), JUDGMENTS)), facts_of(step)


def facts_of(step: Step) -> dict[str, Any]:
    """What a step found out."""
    step.write_journal({})
    return dict(read_journal(step.journal_path)["facts"])
