"""Preference training: data and reference log-probs in, an aligned model out."""

from preflow.steps.kit import Step
from preflow.steps.train_policy import train_policy
from preflow.training.loading import TrainingInputs


def run(step: Step, *, trained: str, **inputs: str | None) -> None:
    """Write the aligned model to `trained`; `inputs` are those of `TrainingInputs`."""
    train_policy(step, TrainingInputs(**inputs), trained)  # type: ignore[arg-type]
