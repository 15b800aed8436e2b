"""What every step does that trains: run the loop, stop when told, publish the model, forget the checkpoints."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from preflow.models.load import use_all_cores
from preflow.settings.train import TrainSettings
from preflow.steps.checkpointing import Checkpoints
from preflow.steps.kit import Step
from preflow.steps.lifeline import Stopped, deferred_stop
from preflow.steps.processes import on_all_devices
from preflow.training.loading import TrainingInputs
from preflow.training.loop import Trainer, use_deterministic_algorithms
from preflow.training.parallel import is_first
from preflow.training.policy import publish_policy
from preflow.training.train import Training, prepare_training

UPDATES_ARE_LOST = (
    "train.dtype is {}, and all weights are trained in it: updates below its rounding (a few thousandths of a weight in "
    "bfloat16) are lost, at usual learning rates most of them. Use float32, or train.lora, whose weights are float32."
)


def train_policy(step: Step, inputs: TrainingInputs, trained: str) -> None:
    """Write a plain transformers folder to `trained`. Interrupted, it saves a checkpoint and continues from it next time."""
    on_all_devices(step, train_on_this, inputs=asdict(inputs), trained=trained)


def train_on_this(step: Step, inputs: dict[str, Any], trained: str) -> None:
    """What one process does of `train_policy`, often all; `inputs` are those of `TrainingInputs`."""
    given = TrainingInputs(**inputs)
    settings = step.settings(TrainSettings)
    use_all_cores()
    use_deterministic_algorithms()
    training = prepare_training(settings, given, lambda done: step.progress(done, None, "rows tokenized"))
    facts = training.facts | {"settings": step.settings_text}

    def publish() -> None:
        publish_policy(training.policy, given.model, given.tokenizer, trained, facts, training.network)

    fit(step, settings, training, publish)


def fit(
    step: Step,
    settings: TrainSettings,
    training: Training,
    publish: Callable[[], None],
    measure: Callable[[], None] = lambda: None,
) -> None:
    """Train to the end, measure and publish; asked to stop, raises Stopped with everything saved. Of several processes one
    publishes."""
    for name, stream in training.streams.items():
        step.log(f"{name}: {stream.num_examples} examples, {len(stream.store)} unique sequences")
    if settings.dtype != "float32" and settings.lora is None:
        step.warn(UPDATES_ARE_LOST.format(settings.dtype))
    for text in training.warnings:
        step.warn(text)
    with deferred_stop() as stop_requested, Checkpoints(step) as checkpoints:
        trainer = Trainer(
            training.module,
            training.streams,
            training.terms,
            settings,
            trained=training.trained,
            value=training.value,
            checkpoints=checkpoints.folder,
            saved=checkpoints.saved,
            observer=step,
            should_stop=stop_requested,
            before_batch=training.before_batch,
        )
        finished = trainer.run()
        if finished:
            measure()
            trainer.gather()
            if is_first():
                publish()
            checkpoints.forget()
    if not finished:
        raise Stopped
    step.fact("examples", training.streams["data"].num_examples)
    step.fact("steps", trainer.schedule.total_steps)
    step.fact("trained_parameters", sum(value.numel() for value in trainer.parameters.values()))
