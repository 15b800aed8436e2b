"""Supervised fine-tuning: demonstrations in, a model out."""

from preflow.steps.kit import Step
from preflow.steps.train_policy import train_policy
from preflow.training.loading import TrainingInputs


def run(step: Step, *, data: str, model: str, tokenizer: str, trained: str) -> None:
    """Write the fine-tuned model to `trained`."""
    train_policy(step, TrainingInputs(data=data, model=model, tokenizer=tokenizer), trained)
