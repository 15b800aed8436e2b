"""From data to an aligned model and its page: reference log-probs, training, evaluation, report."""

from typing import Any

from preflow.steps.evaluate.component import evaluate
from preflow.steps.reference_logps.component import reference_logps
from preflow.steps.report.component import report
from preflow.steps.train_preference.component import train_preference
from preflow_pipelines.subgraphs.context import Context


def train_and_evaluate(run: Context, data: Any, heldout: Any) -> None:
    """Train from the run's model, which is the reference too, and measure against it."""
    model, tokenizer = run.input("model"), run.input("tokenizer")
    reference = reference_logps(data=data, model=model, tokenizer=tokenizer, settings=run.section("reference"), key="")
    trained = train_preference(
        data=data,
        logps=reference.outputs["logps"],
        model=model,
        tokenizer=tokenizer,
        settings=run.section("train"),
        key="",
    )
    measured = evaluate(
        policy=trained.outputs["trained"],
        reference=model,
        tokenizer=tokenizer,
        heldout=heldout,
        judge=run.input("judge"),
        settings=run.section("evaluate"),
        key="",
    )
    report(
        train_journal=trained.outputs["journal"],
        evaluate_journal=measured.outputs["journal"],
        samples=measured.outputs["samples"],
        numbers=measured.outputs["numbers"],
        settings="{}",
        key="",
    )
