"""Objectives beside the paired ones: demonstrations, weights of zero, sides that are equal, streams of other lengths."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from preflow.artifacts.ids import completion_id
from preflow.errors import SettingsError
from preflow.models.sequence_logps import SequenceLogps
from preflow.settings.train import LoraSettings, Term, TrainSettings
from preflow.text.tokenizer import Tokenizer
from preflow.training.gradient import GradientEngine, NotFinite, OptimizerBatch
from preflow.training.objectives import bind_terms
from preflow.training.policy import make_policy
from preflow.training.streams import Stream, completions_stream
from training_kit import Notes, pairs, trainer_of

SFT = Term(roles={"target": "completion"}, loss="preflow.losses.likelihood:nll", reduction="token_mean")


def demonstrations(count: int) -> Iterator[dict[str, Any]]:
    """Rows of completions/v1 of ragged lengths, every third of them cut off."""
    for number, row in enumerate(tiny.pair_rows(count)):
        text, identity = row["chosen"], row["prompt_id"]
        finish = "length" if number % 3 == 2 else "stop"
        yield {
            "completion_id": completion_id(identity, text, "human"),
            "prompt_id": identity,
            "prompt": row["prompt"],
            "text": text,
            "finish_reason": finish,
            "token_ids": None,
        }


@pytest.fixture
def targets(tiny_tokenizer: Path) -> Stream:
    return completions_stream(demonstrations(7), Tokenizer.load(tiny_tokenizer))


def sequences(stream: Stream) -> list[tuple[list[int], list[int]]]:
    store = stream.store
    return [
        (store.prompts[store.prompt_of[number]].tolist(), store.completions[number].tolist())
        for number in stream.roles["completion"]
    ]


def cross_entropy_of_transformers(model: Any, stream: Stream) -> torch.Tensor:
    """One padded batch, prompts and padding masked by -100: transformers' own loss."""
    rows = sequences(stream)
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids, labels = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
    for row, (prompt, completion) in enumerate(rows):
        ids[row, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        labels[row, len(prompt) : len(prompt) + len(completion)] = torch.tensor(completion)
    loss: torch.Tensor = model(input_ids=ids, labels=labels).loss
    return loss


def flat_gradient(model: Any) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def accumulate(model: Any, stream: Stream, terms: list[Term], budget: int = 100) -> tuple[torch.Tensor, float]:
    name = terms[0].stream
    engine = GradientEngine(
        SequenceLogps(model),
        {name: stream},
        bind_terms(terms),
        micro_batch_tokens=budget,
        device=torch.device("cpu"),
    )
    result = engine.accumulate(OptimizerBatch({name: np.arange(len(stream))}))
    return flat_gradient(model), result.loss


@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_demonstrations_have_the_gradient_of_cross_entropy(targets: Stream, budget: int) -> None:
    """Exact against log-softmax by hand; to float32, which transformers casts its logits to, against its own loss."""
    model = tiny.tiny_network(family="gpt2").double()
    found, loss = accumulate(model, targets, [SFT], budget)
    model.zero_grad()
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for prompt, completion in sequences(targets):
        rows = model(torch.tensor([prompt + completion])).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        total = total - rows.gather(-1, torch.tensor(completion)[:, None]).sum()
        tokens += len(completion)
    (total / tokens).backward()
    expected = flat_gradient(model)
    assert expected.norm() > 0.01
    assert (found - expected).norm() / expected.norm() < 1e-10
    assert loss == pytest.approx(total.item() / tokens, rel=1e-10)
    model.zero_grad()
    theirs = cross_entropy_of_transformers(model, targets)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-5)
    assert (found - flat_gradient(model)).norm() / expected.norm() < 1e-5


def test_training_on_demonstrations(targets: Stream, tmp_path: Path) -> None:
    """The first loss is transformers' cross-entropy, and the model learns the targets; the cut ones have no end token."""
    ends = [completion[-1] for _, completion in sequences(targets)]
    assert [end == 1 for end in ends] == [True, True, False] * 2 + [True]
    model, notes = tiny.tiny_network(), Notes()
    expected = cross_entropy_of_transformers(model, targets).item()
    settings = TrainSettings(objective=(SFT,), batch_size=7, epochs=30, learning_rate=1e-2, micro_batch_tokens=99)
    trainer = trainer_of(model, {"data": targets}, settings, checkpoints=tmp_path, observer=notes)
    assert trainer.run()
    losses = [values["train/loss"] for values in notes.values]
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < losses[0] / 2
    assert cross_entropy_of_transformers(model, targets).item() < losses[-1]


@pytest.mark.parametrize("reduction", ["example_mean", "token_mean"])
def test_a_weight_of_zero_is_zero(tiny_tokenizer: Path, reduction: str) -> None:
    """The pair counts neither above nor below the line; a batch of nothing else has no gradient, rather than NaN."""
    term = Term(reduction=reduction)
    weighted = pairs(tiny_tokenizer, weight=[1.0, 0.0, 2.0, 0.0])
    assert weighted.weight.tolist() == [1.0, 0.0, 2.0, 0.0]
    found, _ = accumulate(tiny.tiny_network(family="gpt2").double(), weighted, [term])
    kept = np.array([0, 2])
    weighted.roles = {role: numbers[kept] for role, numbers in weighted.roles.items()}
    weighted.ids, weighted.weight, weighted.preference = ["a", "b"], weighted.weight[kept], weighted.preference[kept]
    weighted.columns = {}
    expected, _ = accumulate(tiny.tiny_network(family="gpt2").double(), weighted, [term])
    assert (found - expected).norm() / expected.norm() < 1e-10
    nothing, loss = accumulate(tiny.tiny_network(), pairs(tiny_tokenizer, weight=[0.0] * 4), [term])
    assert (nothing.abs().max().item(), loss) == (0.0, 0.0)


def test_sides_that_are_equal_tokens_have_no_gradient(tiny_tokenizer: Path) -> None:
    same = [row["chosen"] for row in tiny.pair_rows(4)]
    gradient, loss = accumulate(
        tiny.tiny_network(family="gpt2").double(), pairs(tiny_tokenizer, rejected=same), [Term()]
    )
    assert gradient.abs().max() < 1e-15
    assert loss == pytest.approx(math.log(2))


def test_streams_of_different_lengths_go_around(targets: Stream, tiny_tokenizer: Path, tmp_path: Path) -> None:
    """The first stream's epochs count: seven demonstrations beside four pairs, three at a time."""
    settings = TrainSettings(objective=(SFT, Term(stream="companion")), batch_size=3, epochs=2)
    streams = {"data": targets, "companion": pairs(tiny_tokenizer)}
    notes = Notes()
    trainer = trainer_of(tiny.tiny_network(), streams, settings, checkpoints=tmp_path, observer=notes)
    assert trainer.run()
    assert len(notes.values) == 6
    assert {"train/completion_logps", "train/companion_chosen_logps"} <= set(notes.values[-1])


def test_a_gradient_that_is_not_finite_ends_the_training(targets: Stream, tmp_path: Path) -> None:
    """A finite loss with a NaN gradient; the weights stay what they were."""
    model = tiny.tiny_network()
    model.lm_head.weight.register_hook(lambda gradient: gradient * math.nan)
    before = model.lm_head.weight.detach().clone()
    settings = TrainSettings(objective=(SFT,), batch_size=3)
    trainer = trainer_of(model, {"data": targets}, settings, checkpoints=tmp_path, observer=Notes())
    with pytest.raises(NotFinite, match=r"gradient of step 1 is not finite.*Lower the learning rate"):
        trainer.run()
    assert torch.equal(model.lm_head.weight, before)


@pytest.mark.parametrize(
    ("targets_named", "words"), [("q_prj", "not found"), ("q_proj,lm_head", "LM head"), ("embed_tokens", "LM head")]
)
def test_adapters_go_where_they_count(tiny_model: Path, targets_named: str, words: str) -> None:
    """Log-probs read the head's own weights, so that an adapter there would train nothing; a tied one would change it."""
    options = TrainSettings(lora=LoraSettings(targets=targets_named))
    with pytest.raises(SettingsError, match=rf"{words}.*all-linear"):
        make_policy(tiny_model, options, torch.device("cpu"))
