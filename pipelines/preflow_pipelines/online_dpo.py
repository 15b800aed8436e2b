"""online_dpo: prompts → rounds of (sample two → judge → pair → train) → evaluate → report."""

from preflow_pipelines.subgraphs.before_training import trained_reward_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported
from preflow_pipelines.subgraphs.rounds import play_rounds, report_on_rounds


def workflow(run: Context) -> None:
    """Every round samples from its own policy and is held against the start model."""
    data = imported(run)
    reward_model = trained_reward_model(run, data, run.input("model"))
    rounds = play_rounds(run, data.train, reward_model=reward_model)
    report_on_rounds(run, rounds, data.heldout)
