"""What a workflow may train before the policy: the model that it starts from, and the model of what people prefer."""

from typing import Any

from preflow.steps.sft.component import sft
from preflow.steps.train_reward_model.component import train_reward_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import Imported, more_data, more_rows


def start_model(run: Context) -> Any:
    """The run's model, fine-tuned on demonstrations where the run file has the section `sft`."""
    rows = more_data(run, "sft")
    if rows is None:
        return run.input("model")
    task = sft(
        data=rows, model=run.input("model"), tokenizer=run.input("tokenizer"), settings=run.section("sft"), key=""
    )
    return task.outputs["trained"]


def trained_reward_model(run: Context, data: Imported, model: Any) -> Any:
    """A reward model on the section's own pairs, else on the data's, from `model`; None where the run file has no such section."""
    if not run.has("reward_model"):
        return None
    pairs = more_rows(run, "reward_model")
    heldout = pairs.heldout if pairs else data.heldout
    asks_prompts = pairs is None and run.plan.run_file.evaluate.prompts is not None
    more = {} if asks_prompts else {"heldout": heldout}
    task = train_reward_model(
        data=pairs.train if pairs else data.train,
        model=model,
        tokenizer=run.input("tokenizer"),
        settings=run.section("reward_model"),
        key="",
        **more,
    )
    run.tasks["reward_model"] = task
    return task.outputs["trained"]
