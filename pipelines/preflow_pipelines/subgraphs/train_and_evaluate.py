"""From data to an aligned model and its page: reference log-probs, training, evaluation, report."""

from typing import Any

from preflow.settings.train import LOSS_FILE
from preflow.steps.evaluate.component import evaluate
from preflow.steps.reference_logps.component import reference_logps
from preflow.steps.report.component import report
from preflow.steps.train_preference.component import train_preference
from preflow_pipelines.subgraphs.context import Context


def train_and_evaluate(run: Context, data: Any, heldout: Any, start: Any = None, **more: Any) -> None:
    """Train from `start` (the run's model), which is the reference too, and measure against it. `more` as in `train`."""
    trained = train(run, data, start or run.input("model"), **more)
    evaluate_and_report(run, trained, heldout, reference=start)


def train(
    run: Context,
    data: Any,
    model: Any,
    *,
    reference: Any = None,
    logps: Any = None,
    companion: Any = None,
    samples: Any = None,
    sample_reference: Any = None,
    section: str = "train",
) -> Any:
    """The training task: from `model`, held against `reference` (the same model, if left out).

    `logps` are reference log-probs that are there already; `companion` a second stream; `samples` the policy's own
    completions of the data's prompts, held against `sample_reference` where that is another model.
    """
    given = {"companion": companion, "samples": samples, "reference": reference}
    given |= {LOSS_FILE: run.input(LOSS_FILE)} if run.has(LOSS_FILE) else {}
    if run.loss.needs_reference:
        apart = sample_reference is not None
        given["logps"] = logps or stored(run, data, reference or model, None if apart else samples)
        if apart:
            given["sample_logps"] = stored(run, data, sample_reference, samples)
    return train_preference(
        data=data,
        model=model,
        tokenizer=run.input("tokenizer"),
        settings=run.section(section),
        key="",
        **{name: artifact for name, artifact in given.items() if artifact is not None},
    )


def stored(run: Context, data: Any, model: Any, samples: Any = None) -> Any:
    """Log-probs of all sequences of `data` (and `samples`) under `model`."""
    more = {"samples": samples} if samples is not None else {}
    task = reference_logps(
        data=data, model=model, tokenizer=run.input("tokenizer"), settings=run.section("reference"), key="", **more
    )
    return task.outputs["logps"]


def measure(run: Context, policy: Any, heldout: Any, section: str = "evaluate", reference: Any = None) -> Any:
    """The evaluation task of a policy against `reference` (the run's model)."""
    return evaluate(
        policy=policy,
        reference=reference or run.input("model"),
        tokenizer=run.input("tokenizer"),
        heldout=heldout,
        judge=run.input("judge"),
        settings=run.section(section),
        key="",
    )


def evaluate_and_report(run: Context, trained: Any, heldout: Any, **more: Any) -> None:
    """Measure what the training task `trained` made and put it on the run's page."""
    report_on(run, trained.outputs["trained"], trained.outputs["journal"], heldout, **more)


def report_on(run: Context, model: Any, train_journal: Any, heldout: Any, reference: Any = None, **more: Any) -> None:
    """Measure `model`, which the training with this journal made, against `reference`, and put it on the run's page."""
    measured = measure(run, model, heldout, reference=reference)
    if "reward_model" in run.tasks:
        more["reward_model"] = run.tasks["reward_model"].outputs["journal"]
    report(
        train_journal=train_journal,
        evaluate_journal=measured.outputs["journal"],
        samples=measured.outputs["samples"],
        numbers=measured.outputs["numbers"],
        settings="{}",
        key="",
        **more,
    )
