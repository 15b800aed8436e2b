"""dpop: pairs → reference log-probs → train → evaluate → report."""

from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.train_and_evaluate import train_and_evaluate


def workflow(run: Context) -> None:
    """As dpo, with a penalty."""
    data = imported(run)
    train_and_evaluate(run, data.train, data.heldout)
