"""Training against the policy's own samples, which are drawn anew in every round."""

from typing import Any

from preflow.steps.generate_candidates.component import generate_candidates
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.train_and_evaluate import stored, train


def train_against_samples(run: Context, data: Any) -> list[Any]:
    """The training task of every round: samples of the newest policy, held against models that stay what they are.

    The data's rows are held against `reference.helpful`, the samples against `reference.harmful`; both are the run's
    model where none is named, and a single round then asks it once for both.
    """
    start = run.input("model")
    helpful, harmful = (run.input(name) if run.has(name) else start for name in ("helpful_model", "harmful_model"))
    apart = len(run.rounds) > 1 or run.has("helpful_model") or run.has("harmful_model")
    known = {"logps": stored(run, data, helpful), "sample_reference": harmful} if apart else {}
    model, tasks = start, []
    for turn in run.rounds:
        sampled = generate_candidates(
            prompts=data,
            model=model,
            tokenizer=run.input("tokenizer"),
            settings=run.section(f"generate_{turn}" if run.has(f"generate_{turn}") else "generate"),
            key="",
        )
        tasks.append(train(run, data, model, samples=sampled.outputs["completions"], **known))
        model = tasks[-1].outputs["trained"]
    return tasks
