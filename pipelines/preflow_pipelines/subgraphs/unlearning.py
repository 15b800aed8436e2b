"""What a model still knows after unlearning, beside one that never saw what was to be forgotten."""

from typing import Any

from preflow.steps.evaluate_unlearning.component import evaluate_unlearning
from preflow.steps.import_data.component import import_data
from preflow.steps.sft.component import sft
from preflow_pipelines.subgraphs.context import Context


def still_known(run: Context, policy: Any, retain: Any) -> dict[str, Any]:
    """What the run's page needs of it, by the name of `report`'s input; nothing without the section `unlearning`."""
    if not run.has("unlearning"):
        return {}
    given = {name: _questions(run, name) for name in run.settings("unlearning").files}
    if run.has("base_model"):
        given["retained"] = _retain_model(run, retain)
    task = evaluate_unlearning(
        policy=policy,
        reference=run.input("model"),
        tokenizer=run.input("tokenizer"),
        settings=run.section("unlearning"),
        key="",
        **given,
    )
    return {"unlearning": task.outputs["journal"]}


def _questions(run: Context, name: str) -> Any:
    task = import_data(
        files=run.input(f"unlearning_{name}_files"),
        tokenizer=run.input("tokenizer"),
        settings=run.section(f"unlearning_{name}_data"),
        key="",
    )
    return task.outputs["heldout"]


def _retain_model(run: Context, retain: Any) -> Any:
    task = sft(
        data=retain,
        model=run.input("base_model"),
        tokenizer=run.input("tokenizer"),
        settings=run.section("retain_model"),
        key="",
    )
    return task.outputs["trained"]
