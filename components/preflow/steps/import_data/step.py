"""Import: the user's files become artifacts, or a list of what is wrong with them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preflow.artifacts.files import publish_file, write_json, write_text
from preflow.artifacts.io import RowWriter
from preflow.errors import Problem
from preflow.settings.data import WITHOUT_VOTES, ImportSettings
from preflow.steps.import_data.importing import Importer, SourceFile
from preflow.steps.import_data.page import render_page
from preflow.steps.import_data.readers import SPLIT_KEY
from preflow.steps.kit import Step
from preflow.text.tokenizer import Tokenizer


def run(
    step: Step, *, files: str, tokenizer: str, data: str, heldout: str, rejects: str, numbers: str, page: str
) -> None:
    """Write training rows to `data`, held-out rows to `heldout`, bad rows to `rejects`, and the report.

    Raises DataError with rows and fixes, with nothing written, unless `on_bad_row` is drop.
    """
    settings = step.settings(ImportSettings)
    sources = source_files(Path(files))
    importer = Importer(sources, settings, Tokenizer.load(tokenizer), lambda done: step.progress(done, None, "rows"))
    with publish_file(rejects) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as bad:
        if settings.on_bad_row == "drop":
            importer.problems.on_each = lambda problem, row: _reject(bad, problem, row, Path(files))
        with RowWriter(data, importer.kind) as train, RowWriter(heldout, importer.kind) as held:
            for row in importer.rows():
                if not importer.problems.total or settings.on_bad_row == "drop":
                    (train if row["split"] == "train" else held).write(row)
            importer.refuse()
    report = _report(importer)
    warnings = list(_warnings(report, settings))
    write_json(numbers, report, indent=1)
    write_text(page, render_page(report, importer.numbers, warnings))
    for name, value in report.items():
        step.fact(name, value)
    for text in warnings:
        step.warn(text)


def source_files(folder: Path) -> list[SourceFile]:
    """The staged files: train/000.jsonl ..., heldout/000.jsonl ...; a folder in there is a saved dataset."""
    return [
        SourceFile(path, str(path), "heldout" if split == "heldout" else None)
        for split in ("train", "heldout")
        if (folder / split).is_dir()
        for path in sorted((folder / split).iterdir())
    ]


def _reject(file: Any, problem: Problem, row: Any, folder: Path) -> None:
    """A line of the rejects file. The file is named as it was staged: an artifact says nothing of where it was made."""
    if isinstance(row, dict):
        row = {name: value for name, value in row.items() if name != SPLIT_KEY}
    said = {**problem.as_dict(), "file": problem.file.removeprefix(f"{folder}/"), "content": row}
    file.write(json.dumps(said, ensure_ascii=True, default=str) + "\n")


def _report(importer: Importer) -> dict[str, Any]:
    tokenizer = importer.tokenizer
    assert tokenizer
    return {
        **importer.numbers.report(),
        "limits": {"prompt": tokenizer.max_prompt_tokens, "completion": tokenizer.max_completion_tokens},
        "rows_read": importer.rows_read,
        "rows_dropped": importer.problems.total,
        "dropped": dict(importer.problems.counts.most_common()),
        "duplicates": importer.seen.duplicates,
        "opposite_pairs": importer.seen.opposites,
        **({"contradictions": importer.seen.contradictions} if importer.settings.kind in WITHOUT_VOTES else {}),
    }


def _warnings(report: dict[str, Any], settings: ImportSettings) -> Iterator[str]:
    if report["rows_dropped"]:
        reasons = ", ".join(f"{code} {count:,}" for code, count in report["dropped"].items())
        dropped = f"{report['rows_dropped']:,} of {report['rows_read']:,} rows were dropped"
        yield f"{dropped} ({reasons}); see the rejects file."
    if settings.duplicates != "stop":
        what = "kept" if settings.duplicates == "keep" else "aggregated"
        if report["duplicates"] or report["opposite_pairs"]:
            yield f"{report['duplicates']:,} duplicates and {report['opposite_pairs']:,} opposite pairs were {what}."
        if report.get("contradictions"):
            yield f"{report['contradictions']:,} completions with a second label or score were {what}."
    yield from _warnings_of_facets(report)
    share = report.get("chosen_longer_share", 0.5)
    if report["rows"] >= 50 and not 0.25 <= share <= 0.75:
        longer = f"the chosen text is the longer one in {share:.0%} of the pairs"
        yield f"length bias: {longer}; a model can learn length instead."
    if report["completions_truncated"]:
        yield f"{report['completions_truncated']:,} completions lose their end (text.max_completion_tokens)."
    if report["prompts_truncated"]:
        yield f"{report['prompts_truncated']:,} prompts lose their beginning (text.max_prompt_tokens)."
    if report["rows"] and not report["heldout"]:
        yield "no rows are held out: nothing will be measured on this data."


def _warnings_of_facets(report: dict[str, Any]) -> Iterator[str]:
    if "desirable" in report and not (report["desirable"] and report["undesirable"]):
        kind = "desirable" if report["desirable"] else "undesirable"
        yield f"all {report['rows']:,} completions are {kind}: there is nothing to tell apart."
    if report.get("scores", {}).get("distinct") == 1:
        yield f"all {report['rows']:,} scores are {report['scores']['mean']:g}: there is nothing to tell apart."
