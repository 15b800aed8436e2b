"""Train a policy: what every step that trains one does, from artifacts to a published model."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from preflow.artifacts.digests import file_sha256
from preflow.artifacts.manifest import read_manifest
from preflow.errors import SettingsError
from preflow.models.divergences import SequenceDivergences
from preflow.models.load import device, load_model
from preflow.models.rewards import SequenceRewards
from preflow.models.sequence_logps import SequenceLogps
from preflow.models.values import SequencesWithValues, ValueNetwork
from preflow.settings.train import TrainSettings
from preflow.text.tokenizer import Tokenizer
from preflow.training.labels import label_warnings
from preflow.training.loading import TrainingInputs, load_streams, standardise_scores
from preflow.training.mismatched import ROLE as MISMATCHED
from preflow.training.mismatched import add_mismatched
from preflow.training.objectives import BoundTerm, bind_terms
from preflow.training.parallel import in_shards, start_device
from preflow.training.policy import make_policy, trained_parameters
from preflow.training.reference import online_logps
from preflow.training.streams import Progress, Stream


@dataclass
class Training:
    """All that a `Trainer` needs, and what the published model says about itself."""

    policy: Any
    module: SequenceLogps | SequencesWithValues | SequenceRewards
    streams: dict[str, Stream]
    terms: tuple[BoundTerm, ...]
    before_batch: Callable[[np.ndarray, np.ndarray], None]
    facts: dict[str, Any] = field(default_factory=dict)
    trained: dict[str, nn.Parameter] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def network(self) -> ValueNetwork | None:
        return self.module.network if isinstance(self.module, SequencesWithValues) else None

    @property
    def value(self) -> dict[str, nn.Parameter]:
        return {f"value.{name}": each for name, each in self.network.named_parameters()} if self.network else {}


def prepare_training(settings: TrainSettings, inputs: TrainingInputs, progress: Progress) -> Training:
    """Bind the objective, read the streams, load the models. Everything that can be wrong with the data is found first."""
    terms = bind_terms(settings.objective, inputs.loss_file)
    tokenizer = Tokenizer.load(inputs.tokenizer)
    streams = load_streams(inputs, terms, tokenizer, progress)
    facts = {"trained_from": read_manifest(inputs.model).digest, "data": file_sha256(inputs.data)}
    scores = standardise_scores(streams) if settings.standardise_scores else {}
    policy = make_policy(inputs.model, settings, start_device(settings))
    reference = _online_reference(terms, inputs, settings)
    module = _module(policy, reference, terms, inputs, settings)
    before_batch = _before_batch(policy, reference, terms, streams["data"], tokenizer, settings)
    trained = trained_parameters(policy)
    warnings = tuple(label_warnings(terms, streams))
    return Training(policy, module, streams, terms, before_batch, facts | scores, trained, warnings)


def _asked(terms: Sequence[BoundTerm], quantity: str) -> bool:
    return any(quantity in bound.quantities for bound in terms)


def _online_reference(terms: Sequence[BoundTerm], inputs: TrainingInputs, settings: TrainSettings) -> Any:
    """A frozen model beside the policy, where the artifact cannot hold what is asked for. With an adapter the base is there."""
    mismatched = any(MISMATCHED in bound.roles_of("reference") for bound in terms)
    if not (mismatched or _asked(terms, "kls")):
        return None
    if settings.lora is not None and inputs.reference is None:
        return None
    return load_model(inputs.reference or inputs.model, settings.dtype).to(device()).requires_grad_(False)


def _module(
    policy: Any, reference: Any, terms: Sequence[BoundTerm], inputs: TrainingInputs, settings: TrainSettings
) -> SequenceLogps | SequencesWithValues:
    sequences = SequenceDivergences(policy, reference) if _asked(terms, "kls") else SequenceLogps(policy)
    if not _asked(terms, "values"):
        return sequences
    return SequencesWithValues(
        sequences, ValueNetwork(load_model(inputs.model, settings.dtype)).to(start_device(settings))
    )


def _before_batch(
    policy: Any,
    reference: Any,
    terms: Sequence[BoundTerm],
    stream: Stream,
    tokenizer: Tokenizer,
    settings: TrainSettings,
) -> Callable[[np.ndarray, np.ndarray], None]:
    """Where a loss wants mismatched pairs: make those of the coming batch, and ask the reference for them."""
    if not any(MISMATCHED in bound.term.roles.values() for bound in terms):
        return lambda numbers, order: None
    if reference is None and in_shards(settings):
        raise SettingsError(
            "train.parallel fsdp: the loss asks for mismatched pairs of the model without its adapter, and its weights lie in "
            "shards. Set train.parallel to ddp, or leave train.lora out."
        )
    module = SequenceLogps(policy if reference is None else reference)
    kept, known = len(stream.store), stream.reference_logps["reference"]

    def prepare(numbers: np.ndarray, order: np.ndarray) -> None:
        add_mismatched(stream, kept, numbers, order, tokenizer.truncated)
        stream.reference_logps["reference"] = np.append(known, np.full(len(stream.store) - kept, np.nan))
        unknown = np.unique(stream.roles[MISMATCHED][numbers])
        unknown = unknown[np.isnan(stream.reference_logps["reference"][unknown])]
        if not len(unknown):
            return
        with policy.disable_adapter() if reference is None else nullcontext():
            found, _ = online_logps(
                module, stream.store, micro_batch_tokens=settings.micro_batch_tokens, device=device(), wanted=unknown
            )
        stream.reference_logps["reference"][unknown] = found[unknown]

    return prepare
