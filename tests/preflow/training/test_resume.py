"""A training that stops at any step and goes on ends bit-identical, whatever is trained and how."""

from pathlib import Path
from typing import Any

import pytest
import torch

from preflow.settings.train import LoraSettings, Term, TrainSettings
from preflow.training.loop import Trainer
from preflow.training.policy import make_policy
from training_kit import Notes, pairs, trainer_of

STEPS = 4
MOVING_AVERAGES = Term(loss="preflow.losses.beta_dpo:beta_dpo", coupled=True, reduction="kept_mean")


def trainer(model: Path, tokenizer: Path, folder: Path, stop_after: int | None, options: dict[str, Any]) -> Trainer:
    """A trainer that is asked to stop before micro-batch number `stop_after` of this attempt."""
    hinge = Term(loss="preflow.losses.rso:hinge_norm", arguments={"beta": 0.5})
    settings = TrainSettings(
        **{
            "objective": (hinge,),
            "batch_size": 3,
            "epochs": 2,
            "learning_rate": 1e-2,
            "micro_batch_tokens": 64,
            **options,
        },
    )
    asked = iter(range(1 << 30))
    return trainer_of(
        make_policy(model, settings, torch.device("cpu")),
        {"data": pairs(tokenizer, 6)},
        settings,
        checkpoints=folder,
        observer=Notes(),
        should_stop=lambda: stop_after is not None and next(asked) >= stop_after,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "cosine", "warmup_steps": 2, "weight_decay": 0.1},
        {"optimizer": "rmsprop", "schedule": "linear"},
        {"lora": LoraSettings(rank=2), "gradient_checkpointing": True},
        {"dtype": "bfloat16"},
        {"objective": (MOVING_AVERAGES,)},
    ],
    ids=["adamw", "rmsprop", "lora", "bfloat16", "moving averages"],
)
def test_every_stop_ends_bit_identical(
    options: dict[str, Any], tiny_model: Path, tiny_tokenizer: Path, tmp_path: Path
) -> None:
    whole = trainer(tiny_model, tiny_tokenizer, tmp_path / "whole", None, options)
    start = {name: value.detach().clone() for name, value in whole.parameters.items()}
    assert whole.run()
    assert any(not torch.equal(start[name], value) for name, value in whole.parameters.items())
    for attempts in range(40):  # each gets a little further, mostly into the middle of a step
        attempt = trainer(tiny_model, tiny_tokenizer, tmp_path / "broken", attempts, options)
        if attempt.run():
            break
    assert STEPS < attempts < 39
    for name, value in whole.parameters.items():
        assert torch.equal(value, attempt.parameters[name]), name


def test_a_stop_before_the_first_step_is_whole(tiny_model: Path, tiny_tokenizer: Path, tmp_path: Path) -> None:
    assert not trainer(tiny_model, tiny_tokenizer, tmp_path, 0, {}).run()
    assert not trainer(tiny_model, tiny_tokenizer, tmp_path, 0, {}).run()
    assert trainer(tiny_model, tiny_tokenizer, tmp_path, None, {}).run()
