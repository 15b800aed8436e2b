"""kto: labelled completions (pairs, scores → convert) → reference log-probs → train → evaluate → report."""

from preflow_pipelines.subgraphs.before_training import start_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.train_and_evaluate import train_and_evaluate


def workflow(run: Context) -> None:
    """As dpo, on single completions; the training step asks the reference for mismatched pairs itself."""
    data = imported(run)
    train_and_evaluate(run, data.train, data.heldout, start_model(run))
