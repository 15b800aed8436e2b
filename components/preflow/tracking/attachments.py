"""What a run shows beside numbers: datasets by our digests, samples side by side, pages, journals, logs."""

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.tracking.runs import REPORT_STEP, RunView, TaskView
from preflow.tracking.writer import RunWriter

SAMPLES = "samples.json"
MAX_DIGEST = 36  # characters that MLflow takes
POLICY = "policy"
COLUMNS = ["prompt", "policy", "baseline", "policy score", "baseline score"]
Row = Mapping[str, Any]


def log_datasets(view: RunView, run: RunWriter) -> None:
    """The rows trained on and the rows held out: digests are the artifacts' sha256, sources the user's own files."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    for task, argument, context in (
        (view.policy_task, "data", "training"),
        (view.evaluation_task, "heldout", "evaluation"),
    ):
        if task is None or argument not in task.arguments:
            continue
        facts = task.journal["inputs"].get(argument, {}) if task.journal else {}
        name, digest = _dataset(view, task.arguments[argument], context)
        if (name, digest) in run.datasets:
            continue
        own = (
            "evaluation_files"
            if context == "evaluation" and "evaluation_files" in view.about["inputs"]
            else "data_files"
        )
        files = view.about["inputs"].get(own, {}).get("files", {})
        source = json.dumps({"uri": ", ".join(files.values()) or task.arguments[argument]})
        profile = json.dumps(
            {"num_rows": facts.get("rows"), "kind": facts.get("kind"), "artifact": task.arguments[argument]}
        )
        dataset = Dataset(name, digest, "local", source, profile=profile)
        run.client.log_inputs(run.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])
        run.datasets.add((name, digest))


def dataset_of(view: RunView, task: TaskView, argument: str, context: str) -> dict[str, str]:
    """The dataset that a metric is about, as fields of MLflow's Metric."""
    if argument not in task.arguments:
        return {}
    name, digest = _dataset(view, task.arguments[argument], context)
    return {"dataset_name": name, "dataset_digest": digest}


def _dataset(view: RunView, path: str, context: str) -> tuple[str, str]:
    """Name and digest of the rows in `path`: the sha256 in its task's record, or else the digest of the inputs."""
    for task in view.tasks:
        for output, place in task.uris.items():
            if place == path:
                entry = task.files.get(output, {}).get(".")
                sha256 = entry["sha256"] if isinstance(entry, Mapping) else entry
                if sha256:
                    return f"{task.task} {output}", str(sha256)[:MAX_DIGEST]
    return context, str(view.about["inputs"].get("data_files", {}).get("digest", "unknown"))[:MAX_DIGEST]


def log_samples(view: RunView, run: RunWriter) -> None:
    """The evaluation's samples as a table: the artifact view then shows runs side by side, prompt by prompt.

    Written as `log_table` would, but not by it: that appends, so that a repeated writing would double the rows.
    """
    task = view.evaluation_task
    if task is None or "samples" not in task.outputs or task.state not in ("EXECUTED", "CACHED"):
        return
    rows = list(sample_rows(Path(task.outputs["samples"])))
    if rows:
        table = {"columns": COLUMNS, "data": [[row[column] for column in COLUMNS] for row in rows]}
        run.client.log_text(run.id, json.dumps(table, ensure_ascii=False), SAMPLES)
        run.write(tags={"mlflow.loggedArtifacts": json.dumps([{"path": SAMPLES, "type": "table"}])})


def sample_rows(path: Path) -> Iterator[Row]:
    """The policy's samples beside the baseline's, a row per prompt and sample index, in the order of the file."""
    grouped: dict[str, dict[str, list[Row]]] = {}
    for row in read_rows(path, COMPLETIONS, ["prompt_id", "prompt", "text", "source", "score"]):
        role = POLICY if row["source"] == POLICY else "baseline"
        grouped.setdefault(row["prompt_id"], {POLICY: [], "baseline": []})[role].append(row)
    for roles in grouped.values():
        for policy, baseline in zip_longest(roles[POLICY], roles["baseline"]):
            yield {
                "prompt": _prompt_text((policy or baseline)["prompt"]),
                "policy": policy["text"] if policy else None,
                "baseline": baseline["text"] if baseline else None,
                "policy score": policy["score"] if policy else None,
                "baseline score": baseline["score"] if baseline else None,
            }


def _prompt_text(messages: list[Mapping[str, str]] | None) -> str:
    """A prompt as a person reads it: one user turn is its text alone."""
    messages = messages or []
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def log_task_files(task: TaskView, folder: Path, run: RunWriter) -> None:
    """A step's journal, its page if it makes one, and the log of one that failed."""
    if task.journal is not None:
        run.client.log_text(
            run.id, json.dumps(task.journal, indent=1, ensure_ascii=False, sort_keys=True), "journal.json"
        )
    log_page(task, run)
    log = folder / "steps" / f"{task.task}.log"
    if task.state in ("FAILED", "KILLED") and log.is_file():
        run.client.log_artifact(run.id, str(log))


def log_page(task: TaskView, run: RunWriter) -> None:
    """A step's HTML page, under a name by which the UI renders it."""
    page = Path(task.outputs.get("page", ""))
    if task.outputs.get("page") and page.is_file():
        run.client.log_text(run.id, page.read_text(encoding="utf-8"), f"{task.step}.html")


def log_report(view: RunView, run: RunWriter) -> None:
    """The run's page."""
    report = view.last_of(REPORT_STEP)
    if report is not None:
        log_page(report, run)


def note(view: RunView, children: Mapping[str, RunWriter], experiment_id: str, model: str | None = None) -> str:
    """The run's description (Markdown): what happened to each step, warnings, the error, where model and folder are."""
    lines = [
        f"`{view.about['method']}` run **{view.id}**: {view.state}",
        "",
        "| step | state | seconds |",
        "|---|---|---|",
    ]
    for task in view.tasks:
        seconds = f"{task.ended - task.started:.1f}" if task.ended else ""
        reused = f" from {task.origin}" if task.state == "CACHED" else ""
        name = link(task.task, children[task.task].id, experiment_id) if task.task in children else task.task
        lines.append(f"| {name} | {task.state}{reused} | {seconds} |")
    if view.error:
        lines += ["", f"**{view.error.get('type', 'Error')}**: {view.error.get('message', '')}"]
    warnings = [warning for task in view.tasks if task.journal for warning in task.journal.get("warnings", [])]
    lines += ["", *(f"* warning: {warning}" for warning in dict.fromkeys(warnings))]
    url = (view.cluster or {}).get("url")
    places = [model, f"Folder: `{view.place}`", f"[Run in Kubeflow Pipelines]({url})" if url else None]
    return "\n".join([*lines, "", "  \n".join(place for place in places if place)])


def link(text: str, run_id: str, experiment_id: str) -> str:
    """A Markdown link to a run, as the UI's own descriptions take it."""
    return f"[{text}](#/experiments/{experiment_id}/runs/{run_id})"
