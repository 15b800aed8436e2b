"""dno: prompts → rounds of (sample → judge → pairs → history → train) → best round → evaluate → report."""

from preflow_pipelines.subgraphs.before_training import trained_reward_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import imported, more_data
from preflow_pipelines.subgraphs.rounds import play_rounds, report_on_rounds


def workflow(run: Context) -> None:
    """A teacher's answers, where there are some, are candidates like the policy's own."""
    data = imported(run)
    reward_model, teacher = trained_reward_model(run, data, run.input("model")), more_data(run, "teacher")
    rounds = play_rounds(run, data.train, teacher, reward_model)
    report_on_rounds(run, rounds, data.heldout)
