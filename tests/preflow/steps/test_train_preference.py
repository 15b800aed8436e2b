"""Reference log-probs and preference training on tiny files."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import PAIRS, SEQUENCE_LOGPS
from preflow.errors import ArtifactError
from preflow.models.load import load_model
from preflow.settings.reference import ReferenceSettings
from preflow.settings.train import LoraSettings, TrainSettings
from preflow.steps.kit import Step
from preflow.steps.reference_logps import step as reference_step
from preflow.steps.train_preference import step as train_step
from preflow.tracking.journal import read_journal, series


@pytest.fixture
def prepared(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> dict[str, str]:
    """Pairs with the reference log-probs of the tiny model."""
    write_rows(tmp_path / "pairs", PAIRS, tiny.pair_rows(12))
    step = Step.detached(tmp_path / "reference", ReferenceSettings(micro_batch_tokens=256).canonical())
    paths = {"data": str(tmp_path / "pairs"), "model": str(tiny_model), "tokenizer": str(tiny_tokenizer)}
    reference_step.run(step, **paths, logps=str(tmp_path / "logps"))
    return {**paths, "logps": str(tmp_path / "logps")}


def train(prepared: dict[str, str], folder: Path, **settings: object) -> Step:
    values = {"batch_size": 4, "learning_rate": 1e-3, "micro_batch_tokens": 128, **settings}
    step = Step.detached(folder, TrainSettings(**values).canonical(), "train_preference")
    train_step.run(step, **prepared, trained=str(folder / "trained"))
    step.write_journal({})
    return step


def test_first_loss_is_log_two_and_the_model_learns(prepared: dict[str, str], tmp_path: Path) -> None:
    train(prepared, tmp_path / "a", epochs=4)
    journal = read_journal(tmp_path / "a" / "journal.json")
    losses = [value for _, value in series(journal, "train/loss")]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < losses[0]
    assert dict(series(journal, "train/reward_accuracy"))[1] == 0.5
    assert load_model(tmp_path / "a" / "trained").config.vocab_size == 400


def test_stored_reference_equals_an_online_pass(prepared: dict[str, str]) -> None:
    for row in read_rows(prepared["logps"], SEQUENCE_LOGPS):
        assert row["logp"] == pytest.approx(sum(row["token_logps"]), rel=1e-5)
        assert row["num_tokens"] == len(row["token_logps"])


def test_missing_reference_is_named(prepared: dict[str, str], tmp_path: Path) -> None:
    write_rows(tmp_path / "other", PAIRS, tiny.pair_rows(3, seed=5))
    with pytest.raises(ArtifactError, match="run reference_logps"):
        train({**prepared, "data": str(tmp_path / "other")}, tmp_path / "b")


def test_lora_publishes_adapter_and_merged_weights(prepared: dict[str, str], tmp_path: Path, tiny_model: Path) -> None:
    train(prepared, tmp_path / "a", epochs=2, lora=LoraSettings(rank=2), learning_rate=1e-2)
    folder = tmp_path / "a" / "trained"
    losses = [value for _, value in series(read_journal(tmp_path / "a" / "journal.json"), "train/loss")]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < losses[0]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    before, after = load_file(tiny_model / "model.safetensors"), load_file(folder / "model.safetensors")
    assert set(before) == set(after)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_weights_of_half_precision_are_warned_of(prepared: dict[str, str], tmp_path: Path) -> None:
    """An adapter's weights are float32 whatever the model's are."""
    for name, lora, warnings in (("a", None, 1), ("b", LoraSettings(rank=2), 0)):
        train(prepared, tmp_path / name, max_steps=1, dtype="bfloat16", lora=lora)
        assert len(read_journal(tmp_path / name / "journal.json")["warnings"]) == warnings
    adapter = load_file(tmp_path / "b" / "trained" / "adapter" / "adapter_model.safetensors")
    assert {value.dtype for value in adapter.values()} == {torch.float32}


def test_same_seed_same_bytes(prepared: dict[str, str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(prepared, tmp_path / name)
    manifests = [json.loads((tmp_path / name / "trained" / "manifest.json").read_text()) for name in ("a", "b")]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize(
    "option", [{"gradient_checkpointing": True}, {"optimizer": "rmsprop"}, {"schedule": "cosine", "warmup_steps": 2}]
)
def test_options_train(prepared: dict[str, str], tmp_path: Path, option: dict[str, object]) -> None:
    train(prepared, tmp_path / "a", max_steps=2, **option)
    assert (tmp_path / "a" / "trained" / "model.safetensors").is_file()
