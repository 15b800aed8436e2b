"""rlhf: pairs or prompts → (sft →) reward model → reinforcement learning → evaluate → report."""

from preflow_pipelines.subgraphs.before_training import start_model, trained_reward_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.reinforcement import reinforced
from preflow_pipelines.subgraphs.train_and_evaluate import evaluate_and_report


def workflow(run: Context) -> None:
    """Where the data are pairs, their prompts are the ones that the policy answers."""
    data = imported(run)
    start = start_model(run)
    reward_model = trained_reward_model(run, data, start)
    trained = reinforced(run, data.train, start, reward_model)
    evaluate_and_report(run, trained, data.heldout, reference=start)
