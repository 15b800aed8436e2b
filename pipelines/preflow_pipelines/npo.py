"""npo: forget and retain rows → reference log-probs → train → evaluate, what is still known → report."""

from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported, more_data
from preflow_pipelines.subgraphs.train_and_evaluate import evaluate_and_report, train
from preflow_pipelines.subgraphs.unlearning import still_known


def workflow(run: Context) -> None:
    """Retain rows go beside the forget rows, where the loss has a term for them."""
    data, retain = imported(run), more_data(run, "retain")
    trained = train(run, data.train, run.input("model"), companion=retain if run.loss.needs_companion else None)
    evaluate_and_report(run, trained, data.heldout, **still_known(run, trained.outputs["trained"], retain))
