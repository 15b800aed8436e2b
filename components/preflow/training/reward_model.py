"""A reward model in training: a backbone with a head, a stream of pairs or comparisons, all pairs of a prompt one example."""

from pathlib import Path
from typing import Any

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.files import copy_folder
from preflow.artifacts.io import expect_kind
from preflow.artifacts.kinds import PAIRS
from preflow.artifacts.manifest import read_manifest
from preflow.errors import SettingsError
from preflow.models.rewards import TOKENIZER_FOLDER, SequenceRewards, save_head
from preflow.settings.reward_model import RewardModelSettings
from preflow.text.comparison import TEMPLATE, Comparisons
from preflow.text.tokenizer import Tokenizer
from preflow.training.comparisons import comparison_stream, keyed_flips
from preflow.training.objectives import bind_terms
from preflow.training.parallel import start_device
from preflow.training.policy import make_policy, publish_policy, trained_parameters
from preflow.training.streams import Progress, Stream, stream_of
from preflow.training.train import Training


def prepare_reward_model(
    settings: RewardModelSettings, data: str, model: str, tokenizer: Tokenizer, progress: Progress
) -> Training:
    """The training of a reward model on the pairs `data`, from the language model `model`. Data first, then models."""
    terms = bind_terms(settings.objective)
    stream = read_pairs(data, tokenizer, progress)
    if not len(stream):
        raise SettingsError(f"{data}: no training pairs. Lower heldout_fraction, or look at the data report.")
    if settings.head == "pairwise":
        flipped = keyed_flips(stream.ids, settings.seed)
        stream = comparison_stream(stream, Comparisons.of(tokenizer), flipped)
    stream.group_by_prompt()
    backbone = make_policy(model, settings, start_device(settings))
    _freeze_word_head(backbone)
    module = SequenceRewards(backbone).to(start_device(settings))
    facts = {"trained_from": read_manifest(model).digest, "data": file_sha256(data), "head": settings.head}
    return Training(
        backbone, module, {"data": stream}, terms, lambda rows, order: None, facts, trained_parameters(module)
    )


def read_pairs(path: str, tokenizer: Tokenizer, progress: Progress) -> Stream:
    """The stream of a pairs/v1 artifact, and of nothing else. Raises ArtifactError, DataError."""
    expect_kind(path, (PAIRS,))
    return stream_of(path, tokenizer, progress)


def _freeze_word_head(model: Any) -> None:
    """A head over words that is not the word embeddings too takes no part in a reward."""
    words = model.get_output_embeddings().weight
    if words is not model.get_input_embeddings().weight:
        words.requires_grad_(False)


def publish_reward_model(training: Training, model: str, tokenizer: str, target: str, facts: dict[str, Any]) -> None:
    """A folder that is whole in itself: backbone, head, what the head is, the tokenizer as it was staged, the template."""
    head, module = training.facts["head"], training.module
    assert isinstance(module, SequenceRewards)
    about = {"head": head} | ({"template": TEMPLATE} if head == "pairwise" else {})

    def beside(folder: Path) -> None:
        save_head(module, folder, about)
        copy_folder(tokenizer, folder / TOKENIZER_FOLDER)

    publish_policy(training.policy, model, tokenizer, target, facts, beside=beside)
