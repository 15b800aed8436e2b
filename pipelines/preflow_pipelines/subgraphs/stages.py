"""Training in stages: each part of the data from the model that the parts before it made."""

from typing import Any

from preflow.steps.split_stages.component import split_stages
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.data import Imported
from preflow_pipelines.subgraphs.train_and_evaluate import measure, train


def train_in_stages(run: Context, data: Any, start: Any, logps: Any) -> Any:
    """The last stage's training task. `logps` are the start model's, of all the data."""
    model, task, known = start, None, logps
    for index in range(run.settings("stages").count):
        part = split_stages(
            data=data, logps=logps, tokenizer=run.input("tokenizer"), settings=run.section(f"stage_{index}"), key=""
        )
        task = train(run, part.outputs["part"], model, logps=known)
        model, known = task.outputs["trained"], None
    return task


def controlled(run: Context, data: Imported, start: Any, logps: Any) -> dict[str, Any]:
    """What the run's page needs of the control, by the name of `report`'s input; nothing where there is none."""
    if not run.has("train_control"):
        return {}
    task = train(run, data.train, start, logps=logps, section="train_control")
    measured = measure(run, task.outputs["trained"], data.heldout, reference=start)
    return {"control": measured.outputs["journal"]}
