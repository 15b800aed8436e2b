"""spo: prompts → rounds of (sample → judge → win rates → policy gradient) → best round → evaluate → report."""

from preflow_pipelines.subgraphs.before_training import trained_reward_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.rounds import play_rounds, report_on_rounds


def workflow(run: Context) -> None:
    """Training rows are all samples with their advantages, not pairs."""
    data = imported(run)
    reward_model = trained_reward_model(run, data, run.input("model"))
    rounds = play_rounds(run, data.train, reward_model=reward_model)
    report_on_rounds(run, rounds, data.heldout)
