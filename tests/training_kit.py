"""What tests of training share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tiny
from preflow.models.sequence_logps import SequenceLogps
from preflow.settings.train import TrainSettings
from preflow.text.tokenizer import Tokenizer
from preflow.training.loop import Trainer
from preflow.training.objectives import bind_terms
from preflow.training.policy import trained_parameters
from preflow.training.streams import Stream, pairs_stream


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []

    def progress(self, done: int, total: int | None, unit: str = "", note: str = "") -> None: ...
    def restore_metrics(self, points: list[dict[str, Any]]) -> None: ...
    def log(self, text: str) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.values.append(dict(values))

    @property
    def metric_points(self) -> list[dict[str, Any]]:
        return []


def pairs(tokenizer: Path, count: int = 4, **columns: list[Any]) -> Stream:
    """A stream of tiny pairs with made-up reference log-probs; `columns` replace those of the rows."""
    absent = {f"{side}_{name}": None for side in ("chosen", "rejected") for name in ("finish", "token_ids")}
    rows = [row | absent for row in tiny.pair_rows(count)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    stream = pairs_stream(rows, Tokenizer.load(tokenizer))
    stream.reference_logps["reference"] = np.linspace(-70, -50, len(stream.store))
    return stream


def trainer_of(policy: Any, streams: dict[str, Stream], settings: TrainSettings, **more: Any) -> Trainer:
    """A trainer of all that is trainable in `policy`, with the settings' own objective."""
    terms = bind_terms(settings.objective)
    return Trainer(SequenceLogps(policy), streams, terms, settings, trained=trained_parameters(policy), **more)
