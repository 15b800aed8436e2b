"""Preference training: data and reference log-probs in, an aligned model out."""

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import PAIRS
from preflow.artifacts.manifest import read_manifest
from preflow.errors import SettingsError
from preflow.models.load import device, use_all_cores
from preflow.settings.train import TrainSettings
from preflow.steps.kit import Step
from preflow.steps.lifeline import Stopped, deferred_stop
from preflow.text.tokenizer import Tokenizer
from preflow.training.checkpoints import remove_checkpoints
from preflow.training.loop import Trainer, use_deterministic_algorithms
from preflow.training.objectives import bind_terms
from preflow.training.policy import make_policy, publish_policy
from preflow.training.reference import stored_logps
from preflow.training.streams import pairs_stream

UPDATES_ARE_LOST = (
    "train.dtype is {}, and all weights are trained in it: updates below its rounding (a few thousandths of a weight in "
    "bfloat16) are lost, at usual learning rates most of them. Use float32, or train.lora, whose weights are float32."
)


def run(step: Step, *, data: str, logps: str, model: str, tokenizer: str, trained: str) -> None:
    """Write a plain transformers folder to `trained`. Interrupted, it saves a checkpoint and continues from it next time."""
    settings = step.settings(TrainSettings)
    terms = bind_terms(settings.objective)
    use_all_cores()
    use_deterministic_algorithms()
    stream = pairs_stream(
        read_rows(data, PAIRS), Tokenizer.load(tokenizer), lambda done: step.progress(done, None, "rows tokenized")
    )
    if not len(stream):
        raise SettingsError(f"{data}: no training pairs. Lower data.heldout_fraction, or look at the data report.")
    if any(bound.reads_reference for bound in terms):
        stream.reference_logps["reference"] = stored_logps(logps, stream.store)
    step.log(f"{len(stream)} pairs, {len(stream.store)} unique sequences")
    if settings.dtype != "float32" and settings.lora is None:
        step.warn(UPDATES_ARE_LOST.format(settings.dtype))
    policy = make_policy(model, settings, device())
    with deferred_stop() as stop_requested:
        trainer = Trainer(
            policy,
            {"pairs": stream},
            terms,
            settings,
            checkpoints=step.checkpoints,
            observer=step,
            should_stop=stop_requested,
        )
        finished = trainer.run()
        if finished:
            facts = {
                "trained_from": read_manifest(model).digest,
                "data": file_sha256(data),
                "settings": step.settings_text,
            }
            publish_policy(policy, model, tokenizer, trained, facts)
    if not finished:
        raise Stopped
    step.fact("pairs", len(stream))
    step.fact("steps", trainer.schedule.total_steps)
    step.fact("trained_parameters", sum(value.numel() for value in trainer.parameters.values()))
    remove_checkpoints(step.checkpoints)
