"""sdpo: pairs → log-probs → stages of (split → reference log-probs → train) → evaluate, beside a control → report."""

from preflow_pipelines.subgraphs.before_training import start_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.stages import controlled, train_in_stages
from preflow_pipelines.subgraphs.train_and_evaluate import evaluate_and_report, stored


def workflow(run: Context) -> None:
    """The start model's log-probs of all pairs sort them, and are the first stage's reference."""
    data, start = imported(run), start_model(run)
    known = stored(run, data.train, start)
    control = controlled(run, data, start, known)
    trained = train_in_stages(run, data.train, start, known)
    evaluate_and_report(run, trained, data.heldout, reference=start, **control)
