"""slic: pairs → train → evaluate → report, or prompts → (reward model →) sample → rank → pairs → train → evaluate → report."""

from preflow_pipelines.subgraphs.before_training import start_model, trained_reward_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported, more_data
from preflow_pipelines.subgraphs.on_policy_pairs import compared, samples
from preflow_pipelines.subgraphs.train_and_evaluate import train_and_evaluate


def workflow(run: Context) -> None:
    """Direct on the data's pairs; from prompts on pairs of the start model's own texts. No reference in either form."""
    data = imported(run)
    start = start_model(run)
    pairs = data.train
    if run.has("generate"):
        reward_model = trained_reward_model(run, data, start)
        pairs = compared(run, data.train, samples(run, data.train, start), reward_model=reward_model)
    train_and_evaluate(run, pairs, data.heldout, start, companion=more_data(run, "targets"))
