"""rso: prompts → (reward model →) sample → score → reject → pairs → reference log-probs → train → evaluate → report."""

from preflow_pipelines.subgraphs.before_training import start_model, trained_reward_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.on_policy_pairs import on_policy_pairs
from preflow_pipelines.subgraphs.train_and_evaluate import train_and_evaluate


def workflow(run: Context) -> None:
    """Pairs by statistical rejection sampling from the SFT policy, then as dpo."""
    data = imported(run)
    start = start_model(run)
    reward_model = trained_reward_model(run, data, start)
    pairs = on_policy_pairs(run, data.train, start, reward_model)
    train_and_evaluate(run, pairs, data.heldout, start)
