"""Scores: one finite number per completion, from the user's function, a reward model, or the prompt's own answer."""

from itertools import islice
from typing import Any

from preflow.artifacts.candidates import read_candidates
from preflow.artifacts.io import RowWriter, read_stamp
from preflow.artifacts.kinds import COMPLETIONS
from preflow.artifacts.prompts import read_answers, read_prompts
from preflow.errors import ArtifactError
from preflow.models.scoring.interface import Asked, open_scoring
from preflow.settings.score import ScoreSettings
from preflow.steps.kit import Step


def run(step: Step, *, prompts: str, completions: str, scorer: str, scored: str, teacher: str | None = None) -> None:
    """Write the candidates again, with score, scorer and unit. `scorer` is a file, or the folder of a reward model."""
    settings = step.settings(ScoreSettings)
    scoring = open_scoring(scorer, settings)
    asking = _Asking(prompts, completions, scoring.needs_answers)
    if scoring.needs_candidates:
        scoring.look_at((row["completion_id"], asking.of(row)) for row in read_candidates(completions, teacher))
    total, facet = read_stamp(completions).rows, {"scorer": scoring.name, "unit": settings.unit}
    source, done, sums = read_candidates(completions, teacher), 0, [0.0, 0.0]
    with RowWriter(scored, COMPLETIONS, facet) as writer:
        while rows := list(islice(source, scoring.at_once)):
            scores = scoring.scores([asking.of(row) for row in rows])
            writer.write_many({**row, "score": score, **facet} for row, score in zip(rows, scores, strict=True))
            done += len(rows)
            sums = [sums[0] + sum(scores), sums[1] + sum(score * score for score in scores)]
            step.progress(done, total, "completions")
    mean = sums[0] / max(1, done)
    step.fact("completions", done)
    step.fact("mean_score", mean)
    step.fact("score_deviation", max(0.0, sums[1] / max(1, done) - mean * mean) ** 0.5)


class _Asking:
    """Rows of completions/v1, joined with their prompts by id."""

    def __init__(self, prompts: str, completions: str, with_answers: bool):
        self.prompts, self.completions = read_prompts(prompts), completions
        self.answers = read_answers(prompts) if with_answers else {}

    def of(self, row: dict[str, Any]) -> Asked:
        prompt = row["prompt_id"]
        if prompt not in self.prompts:
            raise ArtifactError(
                f"{self.completions}: prompt {prompt} is not among the prompts. Expected completions of these prompts."
            )
        finished = row["finish_reason"] != "length"
        return Asked(prompt, self.prompts[prompt], row["text"], finished, self.answers.get(prompt))
