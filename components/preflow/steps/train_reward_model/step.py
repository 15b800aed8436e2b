"""A reward model: human pairs in, a model of what people prefer out, with its accuracy on pairs it has not seen."""

from preflow.artifacts.io import read_stamp
from preflow.evaluation.reward_model import heldout_numbers
from preflow.evaluation.statistics import FEW_CLUSTERS
from preflow.models.load import use_all_cores
from preflow.models.rewards import SequenceRewards
from preflow.settings.reward_model import RewardModelSettings
from preflow.steps.kit import Step
from preflow.steps.processes import on_all_devices
from preflow.steps.train_policy import fit
from preflow.text.tokenizer import Tokenizer
from preflow.training.loop import use_deterministic_algorithms
from preflow.training.reward_model import prepare_reward_model, publish_reward_model, read_pairs

NOTHING_HELD_OUT = "no pairs are held out: nobody knows how good the reward model is. Set heldout_fraction of its data, or hold out pairs."


def run(step: Step, *, data: str, model: str, tokenizer: str, trained: str, heldout: str | None = None) -> None:
    """Write a folder that `preflow.models.reward_model.RewardModel` reads. Interrupted, it continues from a checkpoint."""
    given = {"data": data, "model": model, "tokenizer": tokenizer, "trained": trained, "heldout": heldout}
    on_all_devices(step, train_on_this, **given)


def train_on_this(step: Step, data: str, model: str, tokenizer: str, trained: str, heldout: str | None) -> None:
    """What one process does of it, often all."""
    settings = step.settings(RewardModelSettings)
    use_all_cores()
    use_deterministic_algorithms()
    contract = Tokenizer.load(tokenizer)
    training = prepare_reward_model(
        settings, data, model, contract, lambda done: step.progress(done, None, "rows tokenized")
    )
    unseen = heldout if heldout and read_stamp(heldout).rows else None
    pairs = read_pairs(unseen, contract, lambda done: None) if unseen else None

    def measure() -> None:
        if pairs is not None and isinstance(training.module, SequenceRewards):
            step.progress(0, None, "held-out pairs")
            numbers = heldout_numbers(training.module, settings, pairs, contract)
            step.metrics(numbers)
            step.log(", ".join(f"{name} {value:.4f}" for name, value in numbers.items()))

    def publish() -> None:
        publish_reward_model(training, model, tokenizer, trained, training.facts | {"settings": step.settings_text})

    fit(step, settings, training, publish, measure)
    stream = training.streams["data"]
    step.fact("pairs", len(stream))
    step.fact("prompts_truncated", stream.prompt_cut)
    step.fact("completions_truncated", stream.completion_cut)
    if pairs is None:
        step.warn(NOTHING_HELD_OUT)
        return
    step.fact("heldout_pairs", len(pairs))
    if (prompts := len(set(pairs.prompt_ids))) < FEW_CLUSTERS:
        step.warn(
            f"the reward model's accuracy comes from {prompts} prompts: its interval is too narrow. Hold out at least {FEW_CLUSTERS}."
        )
