"""d2o: unwanted completions → rounds of (sample → reference log-probs → train) → evaluate → report."""

from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.rounds import report_on_rounds
from preflow_pipelines.subgraphs.self_samples import train_against_samples


def workflow(run: Context) -> None:
    """Samples are drawn anew in every round; what they are held against stays frozen."""
    data = imported(run)
    report_on_rounds(run, train_against_samples(run, data.train), data.heldout)
