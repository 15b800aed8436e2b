"""The KL estimate against a law small enough to be written out."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from preflow.evaluation import divergence
from preflow.evaluation.divergence import kl_numbers, next_token_kls, sequence_kls
from preflow.evaluation.statistics import clustered_error
from preflow.models.sampling import Sample, sample

VOCABULARY, STOP, LONGEST, PROMPT = 6, 1, 3, [2, 4, 3]


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    return tuple(tiny.tiny_network(seed, vocab_size=VOCABULARY).double() for seed in (0, 1))


class TinyTokenizer(SimpleNamespace):
    """As much of a tokenizer as sampling and the KL ask for."""

    max_prompt_tokens, max_positions, stop_ids = 8, None, frozenset({STOP})

    def encode_prompts(self, prompts: list[Any]) -> list[list[int]]:
        return [PROMPT for _ in prompts]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def completions() -> list[list[int]]:
    """Every completion: it ends with its only stop token, or is cut at LONGEST."""
    found = []
    for length in range(1, LONGEST + 1):
        for ids in product(range(VOCABULARY), repeat=length):
            stops = [place for place, token in enumerate(ids) if token == STOP]
            if stops == [length - 1] or (not stops and length == LONGEST):
                found.append(list(ids))
    return found


@torch.no_grad()
def logps(model: Any) -> torch.Tensor:
    """Of every completion, by the model's own logits; the tokens after its end count for nothing."""
    texts = completions()
    ids = torch.tensor([PROMPT + each + [0] * (LONGEST - len(each)) for each in texts])
    steps = model(ids).logits.log_softmax(-1)[:, len(PROMPT) - 1 : -1].gather(-1, ids[:, len(PROMPT) :, None])[..., 0]
    return torch.stack([row[: len(each)].sum() for row, each in zip(steps, texts, strict=True)]).double()


def kls(policy: Any, reference: Any, samples: list[Sample]) -> list[float]:
    prompts = {each.prompt_id: PROMPT for each in samples}
    return sequence_kls(policy, reference, prompts, samples, micro_batch_tokens=512)


def as_samples(texts: list[list[int]]) -> list[Sample]:
    return [Sample("p", index, "", ids, "stop", 0.0) for index, ids in enumerate(texts)]


def test_its_mean_is_the_exact_divergence_and_its_spread_is_smaller(models: tuple[Any, Any]) -> None:
    policy, reference = models
    p, q = logps(policy), logps(reference)
    assert float(p.exp().sum()) == pytest.approx(1)
    exact = float((p.exp() * (p - q)).sum())
    found = torch.tensor(kls(policy, reference, as_samples(completions())))
    assert exact > 0.1
    assert float((p.exp() * found).sum()) == pytest.approx(exact, rel=1e-7)
    spread, of_log_ratio = (float((p.exp() * (each - exact) ** 2).sum()) for each in (found, p - q))
    assert spread < of_log_ratio / 3


def test_samples_estimate_it_within_their_error(models: tuple[Any, Any]) -> None:
    policy, reference = models
    p, q = logps(policy), logps(reference)
    exact = float((p.exp() * (p - q)).sum())
    drawn = list(
        sample(
            policy,
            TinyTokenizer(),
            [(f"p{n}", []) for n in range(400)],  # type: ignore[arg-type]
            samples_per_prompt=1,
            temperature=1.0,
            top_k=0,
            max_new_tokens=LONGEST,
            batch_size=400,
            seed=0,
        )
    )
    mean, error = clustered_error(kls(policy, reference, drawn), [each.prompt_id for each in drawn])
    assert error is not None
    assert abs(mean - exact) < 4 * error


def test_equal_models_are_exactly_zero_apart(models: tuple[Any, Any]) -> None:
    policy, _ = models
    assert kls(policy, policy, as_samples([[3, 4, 1], [1]])) == [0.0, 0.0]


def test_parts_and_batches_give_the_same(models: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    samples = as_samples(completions()[:20])
    apart = [replace(each, prompt_id=f"p{each.sample_index}") for each in samples]
    whole = kls(*models, samples)
    monkeypatch.setattr(divergence, "CHUNK_BYTES", 8 * VOCABULARY * 7)
    assert kls(*models, samples) == pytest.approx(whole, rel=1e-6)
    assert kls(*models, apart) == pytest.approx(whole, rel=1e-6)


def test_rows_are_the_textbook_divergence() -> None:
    ours, theirs = torch.randn(7, 11), torch.randn(7, 11)
    whole = next_token_kls(ours, theirs)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=ours.double()), torch.distributions.Categorical(logits=theirs.double())
    )
    torch.testing.assert_close(whole, expected)


@pytest.mark.parametrize("low", [-1e4, -torch.inf])
def test_tokens_the_policy_never_writes_add_nothing(low: float) -> None:
    ours, theirs = torch.tensor([[0.0, 1.0, low]]), torch.tensor([[0.0, 1.0, low]])
    assert next_token_kls(ours, theirs).tolist() == [0.0]


def test_bfloat16_logits_are_summed_in_double() -> None:
    logits = torch.randn(3, 50).bfloat16()
    assert next_token_kls(logits, logits).tolist() == [0.0] * 3
    assert next_token_kls(logits, logits + 1).max() < 0.01  # a constant is no difference, up to rounding of the logits


def test_numbers_are_per_completion_and_per_token() -> None:
    samples = [Sample("a", 0, "", [3, 1], "stop", 0.0), Sample("b", 0, "", [3, 4, 1], "stop", 0.0)]
    numbers = kl_numbers([2.0, 4.0], samples)
    error = pytest.approx(1.0)  # of 2 and 4: sqrt(2 / 2)
    assert numbers == {"eval/kl_to_reference": 3.0, "eval/kl_per_token": 6 / 5, "eval/kl_to_reference_se": error}
    assert "eval/kl_to_reference_se" not in kl_numbers([2.0], samples[:1])
