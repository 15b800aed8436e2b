"""The run's page: one self-contained HTML file."""

import json
from pathlib import Path

from preflow.artifacts.files import write_text
from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.steps.kit import Step
from preflow.steps.report.page import render_page
from preflow.tracking.journal import read_journal

COLUMNS = ("prompt_id", "prompt", "sample_index", "text", "source", "score", "finish_reason")


def run(
    step: Step,
    *,
    train_journal: str,
    evaluate_journal: str,
    samples: str,
    numbers: str,
    page: str,
    control: str | None = None,
    unlearning: str | None = None,
    reward_model: str | None = None,
) -> None:
    """Write the page to `page`. Raises ArtifactError for a journal or samples that are none.

    `control` is the journal of another model's evaluation that this one is compared with, `unlearning` that of what is
    still known, `reward_model` that of its training.
    """
    headline = json.loads(Path(numbers).read_text(encoding="utf-8"))
    rows = list(read_rows(samples, COMPLETIONS, COLUMNS))
    more = {"control": control, "unlearning": unlearning, "reward_model": reward_model}
    found = {name: read_journal(path) for name, path in more.items() if path is not None}
    text = render_page(read_journal(train_journal), read_journal(evaluate_journal), headline, rows, **found)
    write_text(page, text)
    step.fact("samples", len(rows) // 2)
