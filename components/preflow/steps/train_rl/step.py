"""Reinforcement learning: prompts and a scorer in, a policy out that was trained on its own texts."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.manifest import read_manifest
from preflow.artifacts.prompts import read_answers, read_prompts
from preflow.errors import DataError, Problem
from preflow.models.load import device, load_model, use_all_cores
from preflow.models.scoring.interface import Scoring, open_scoring
from preflow.models.sequence_logps import SequenceLogps
from preflow.models.values import TokenNumbers, ValueNetwork, value_network
from preflow.settings.rl import RLSettings
from preflow.steps.checkpointing import Checkpoints
from preflow.steps.kit import Step
from preflow.steps.lifeline import Stopped, deferred_stop
from preflow.steps.processes import COUNT
from preflow.steps.train_policy import UPDATES_ARE_LOST
from preflow.text.tokenizer import Tokenizer
from preflow.training.collecting import Collector, Question
from preflow.training.loop import use_deterministic_algorithms
from preflow.training.policy import make_policy, publish_policy, trained_parameters
from preflow.training.rl import RLTrainer, StopRequested

ONE_DEVICE = (
    "this pod has {} devices, reinforcement learning uses one. Set accelerator_count to 1 in a profile for such runs."
)


def run(step: Step, *, prompts: str, model: str, tokenizer: str, scorer: str, trained: str) -> None:
    """Write a plain transformers folder to `trained`. Interrupted, it saves a checkpoint and continues from it next time."""
    settings = step.settings(RLSettings)
    use_all_cores()
    use_deterministic_algorithms()
    contract = Tokenizer.load(tokenizer)
    scoring = open_scoring(scorer, settings.score)
    questions = _questions(prompts, scoring.needs_answers)
    policy = make_policy(model, settings, device())
    network = _network(settings, model, scorer)
    module = TokenNumbers(SequenceLogps(policy), network)
    reference = None if settings.lora else load_model(model, settings.dtype).to(device()).requires_grad_(False)
    step.log(f"{len(questions)} prompts; scored by {scoring.name}")
    if settings.dtype != "float32" and settings.lora is None:
        step.warn(UPDATES_ARE_LOST.format(settings.dtype))
    if int(os.environ.get(COUNT) or 1) > 1:
        step.warn(ONE_DEVICE.format(os.environ[COUNT]))
    with deferred_stop() as stop_requested, Checkpoints(step) as kept:
        trainer = _trainer(step, kept, settings, module, reference, contract, scoring, questions, stop_requested)
        finished = trainer.run()
        if finished:
            facts = {"trained_from": read_manifest(model).digest, "prompts": file_sha256(prompts)}
            facts |= {"scorer": scoring.name, "settings": step.settings_text}
            publish_policy(policy, model, tokenizer, trained, facts)
            kept.forget()
    if not finished:
        raise Stopped
    step.fact("prompts", len(questions))
    step.fact("steps", trainer.step)
    step.fact("rollouts", trainer.number)
    step.fact("scorer", scoring.name)
    step.fact("trained_parameters", sum(value.numel() for value in trainer.parameters.values()))


def _trainer(
    step: Step,
    kept: Checkpoints,
    settings: RLSettings,
    module: TokenNumbers,
    reference: PreTrainedModel | None,
    contract: Tokenizer,
    scoring: Scoring,
    questions: list[Question],
    stop_requested: Callable[[], bool],
) -> RLTrainer:
    """A trainer that collects its own texts, tells how far it is, and can be stopped while it samples."""

    def leave_if_asked() -> None:
        if stop_requested():
            raise StopRequested

    def sampling(done: int, total: int) -> None:
        step.progress(trainer.step, trainer.total, "updates", f"sampling {done} of {total}")

    collector = Collector(
        module,
        reference,
        contract,
        scoring,
        questions,
        settings,
        device(),
        progress=sampling,
        leave_if_asked=leave_if_asked,
    )
    network = module.network
    trainer = RLTrainer(
        module,
        collector.prompts,
        collector,
        settings,
        trained=trained_parameters(module.sequences.model),
        value={f"value.{name}": each for name, each in network.named_parameters()} if network else {},
        checkpoints=kept.folder,
        saved=kept.saved,
        observer=step,
        should_stop=stop_requested,
    )
    return trainer


def _questions(path: str, with_answers: bool) -> list[Question]:
    answers: dict[str, Any] = read_answers(path) if with_answers else {}
    found = [Question(each, messages, answers.get(each)) for each, messages in sorted(read_prompts(path).items())]
    if not found:
        raise DataError(
            [Problem(path, 0, "no_prompts", "no training prompts.", "Lower data.heldout_fraction, or add prompts.")]
        )
    return found


def _network(settings: RLSettings, model: str, scorer: str) -> ValueNetwork | None:
    """PPO's value network: from the reward model where there is one (InstructGPT, section 3.5), else from the policy."""
    if settings.algorithm != "ppo":
        return None
    network = value_network(scorer if Path(scorer).is_dir() else model, settings.dtype).to(device())
    if settings.gradient_checkpointing:
        backbone: Any = network.backbone
        backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        network.train()
    return network
