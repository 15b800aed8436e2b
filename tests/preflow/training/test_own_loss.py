"""A loss from a file of the user's own: it trains as ours do, and its mistakes are told with their line."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import PAIRS
from preflow.errors import OwnCodeError, SettingsError
from preflow.settings.train import Term, TrainSettings
from preflow.steps.kit import Step
from preflow.steps.train_preference import step as train_step
from preflow.tracking.journal import read_journal, series
from preflow.training.objectives import bind_terms

LOSSES = """import torch
from preflow.losses.coupled import Coupled


def simple(policy_chosen_logps, policy_rejected_logps, chosen_num_tokens, rejected_num_tokens, *, beta=2.0, gamma=1.0):
    lead = policy_chosen_logps / chosen_num_tokens - policy_rejected_logps / rejected_num_tokens
    return torch.nn.functional.softplus(-(beta * lead - gamma))


def centred(policy_chosen_logps, state):
    mean = policy_chosen_logps.mean()
    return Coupled((policy_chosen_logps - mean) ** 2, state={"mean": float(mean)})


def summed(policy_chosen_logps):
    return policy_chosen_logps.sum()


def none(policy_chosen_logps):
    pass


def raises(policy_chosen_logps):
    return policy_chosen_logps + torch.zeros(99)
"""
ROLES = {"chosen": "chosen", "rejected": "rejected"}


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "my_losses.py").write_text(LOSSES)
    return str(tmp_path / "my_losses.py")


def bound(path: str, name: str, **more: Any) -> Any:
    return bind_terms([Term(loss=f"loss_file:{name}", roles=ROLES, **more)], path)[0]


def train(
    folder: Path, model: Path, tokenizer: Path, term: dict[str, Any], loss_file: str | None = None
) -> list[float]:
    """The losses of a short training."""
    folder.mkdir()
    write_rows(folder / "pairs", PAIRS, tiny.pair_rows(12))
    settings = TrainSettings(objective=(Term(**term),), learning_rate=1e-2, batch_size=4)
    step = Step.detached(folder, settings.canonical(), "train_preference")
    inputs = {"data": str(folder / "pairs"), "model": str(model), "tokenizer": str(tokenizer)}
    train_step.run(step, **inputs, loss_file=loss_file, trained=str(folder / "trained"))
    step.write_journal({})
    return [value for _, value in series(read_journal(folder / "journal.json"), "train/loss")]


def test_it_trains_as_our_own_does(path: str, tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> None:
    """SimPO, written once more."""
    arguments = {"beta": 2.0, "gamma": 1.0}
    ours = train(
        tmp_path / "a", tiny_model, tiny_tokenizer, {"loss": "preflow.losses.simpo:simpo", "arguments": arguments}
    )
    own = train(tmp_path / "b", tiny_model, tiny_tokenizer, {"loss": "loss_file:simple", "arguments": arguments}, path)
    assert own == pytest.approx(ours, rel=1e-6) and own[-1] != own[0]


def test_a_coupled_one_has_its_state(path: str, tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> None:
    term = {"loss": "loss_file:centred", "roles": {"chosen": "chosen"}, "coupled": True}
    losses = train(tmp_path / "a", tiny_model, tiny_tokenizer, term, path)
    assert len(losses) == 3 and all(loss > 0 for loss in losses)


def test_arguments_are_those_of_the_signature(path: str) -> None:
    assert [each.name for each in bound(path, "simple").arguments] == ["logps", "logps", "num_tokens", "num_tokens"]
    with pytest.raises(SettingsError, match="unknown arguments"):
        bound(path, "simple", arguments={"gama": 1})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("summed", r"summed returned a tensor of shape \(\), expected \(3,\): one loss per example. Leave the mean"),
        ("none", "returned NoneType, expected a tensor"),
        ("centred", "returned a Coupled, expected losses.* Set loss.coupled: true"),
        ("raises", r"my_losses.py line 24: RuntimeError: .* Mend the function"),
    ],
)
def test_mistakes_name_the_file_and_the_line(path: str, name: str, words: str) -> None:
    function = bound(path, name).function
    given = (torch.zeros(3), {}) if name == "centred" else (torch.zeros(3),)
    with pytest.raises(OwnCodeError, match=words):
        function(*given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import not_there_at_all", "imports 'not_there_at_all', which is not installed"),
        ("x = 1 / 0", "my_losses.py line 1: ZeroDivisionError: division by zero. Mend the file"),
        ("def other(): ...", "no function 'simple'. Functions there: other"),
    ],
)
def test_files_that_cannot_be_loaded(path: str, text: str, words: str) -> None:
    Path(path).write_text(text)
    with pytest.raises(OwnCodeError, match=words):
        bound(path, "simple")
