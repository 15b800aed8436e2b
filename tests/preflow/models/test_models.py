"""Log-probs, sampling and scorers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from preflow.artifacts.draws import uniforms
from preflow.errors import ModelError, ScorerError, SettingsError
from preflow.models.load import load_model
from preflow.models.packing import PromptGroup, cut_by_tokens, groups_of, pack
from preflow.models.sampling import Sample, draw_tokens, sample
from preflow.models.scorers import load_scorer, score_batches
from preflow.models.sequence_logps import SequenceLogps, _ChunkedLogps
from preflow.text.tokenizer import Tokenizer


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_nothing(chunk: int) -> None:
    torch.manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in [(7, 5), (11, 5), (11,)]
    )
    targets = torch.randint(0, 11, (7,))

    def function(*inputs: torch.Tensor) -> torch.Tensor:
        return _ChunkedLogps.apply(*inputs, targets, chunk)

    expected = torch.nn.functional.linear(hidden, weight, bias).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    torch.testing.assert_close(function(hidden, weight, bias), expected)
    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


def test_packed_rows_equal_sequences_on_their_own() -> None:
    model = tiny.tiny_network(family="gpt2").double()
    groups = [PromptGroup([1, 2, 3], ([4, 5, 6], [7], [8, 9]), (0, 1, 2)), PromptGroup([9], ([1] * 9,), (3,))]
    together = SequenceLogps(model)(pack(groups))[0]
    for group in groups:
        for completion, index in zip(group.completions, group.indices, strict=True):
            alone = SequenceLogps(model)(pack([PromptGroup(group.prompt, (completion,), (index,))]))[0]
            torch.testing.assert_close(alone[0], together[index], rtol=1e-12, atol=1e-12)


def test_cuts_keep_every_group_and_the_budget() -> None:
    groups = [PromptGroup([1] * (n % 5 + 1), ([2] * (n % 7 + 1),), (n,)) for n in range(50)]
    cuts = cut_by_tokens(groups, 30)
    assert sorted(group.indices[0] for cut in cuts for group in cut) == list(range(50))
    assert all(len(cut) * max(group.num_tokens for group in cut) <= 30 for cut in cuts)


def test_a_prompt_of_many_completions_is_cut_to_the_budget() -> None:
    groups = groups_of([1] * 4, ([number] for number in range(100)), lambda number: [number] * 7, 32)
    assert [index for group in groups for index in group.indices] == list(range(100))
    assert {group.num_tokens for group in groups} == {32}
    assert groups_of([1] * 4, [[0, 1], [2]], lambda number: [number] * 70, 32)[0].indices == (0, 1), (
        "a unit stays whole"
    )


def test_weights_that_must_be_unpickled_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="safetensors"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text('{"auto_map": {}}')
    with pytest.raises(ModelError, match="never run"):
        load_model(tmp_path)


@pytest.fixture(scope="module")
def sampler(tiny_model: Path, tiny_tokenizer: Path) -> Callable[..., list[Sample]]:
    model, tokenizer = load_model(tiny_model), Tokenizer.load(tiny_tokenizer)
    prompts = [(row["prompt_id"], row["prompt"]) for row in tiny.prompt_rows(6)]

    def draw(**changes: Any) -> list[Sample]:
        settings: dict[str, Any] = {
            "samples_per_prompt": 3,
            "temperature": 1.0,
            "top_k": 20,
            "max_new_tokens": 12,
            "batch_size": 64,
            "seed": 0,
        }
        chosen = changes.pop("prompts", prompts)
        found = sample(changes.pop("model", model), tokenizer, chosen, **{**settings, **changes})
        return sorted(found, key=lambda each: (each.prompt_id, each.sample_index))

    draw.prompts, draw.model, draw.tokenizer = prompts, model, tokenizer  # type: ignore[attr-defined]
    return draw


def test_batches_and_order_change_no_draw(sampler: Any) -> None:
    expected = [each.token_ids for each in sampler()]
    assert [each.token_ids for each in sampler(batch_size=1)] == expected
    assert [each.token_ids for each in sampler(batch_size=7, prompts=sampler.prompts[::-1])] == expected
    assert [each.token_ids for each in sampler(prompts=sampler.prompts[2:3])] == [
        each.token_ids for each in sampler() if each.prompt_id == sampler.prompts[2][0]
    ]
    assert [each.token_ids for each in sampler(seed=1)] != expected


def test_greedy_equals_transformers(sampler: Any) -> None:
    found = sampler(top_k=1, samples_per_prompt=1)
    for prompt_id, messages in sampler.prompts:
        ids = torch.tensor([sampler.tokenizer.encode_prompt(messages)])
        theirs = sampler.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=list(sampler.tokenizer.stop_ids),
            pad_token_id=1,
        )
        ours = next(each.token_ids for each in found if each.prompt_id == prompt_id)
        assert ours == theirs[0, ids.shape[1] :].tolist()


def test_log_probs_and_finish_reasons(sampler: Any, tiny_model: Path) -> None:
    """A model that likes to stop: sampled log-probs equal a forward pass, stops are kept, others are cut by length."""
    model = load_model(tiny_model)
    with torch.no_grad():
        model.get_output_embeddings().weight[sampler.tokenizer.turn_end_id] *= 4
    found = sampler(model=model, top_k=0, samples_per_prompt=8)
    assert {each.finish_reason for each in found} == {"stop", "length"}
    for each in found:
        assert (each.token_ids[-1] in sampler.tokenizer.stop_ids) == (each.finish_reason == "stop")
        assert not set(each.token_ids[:-1]) & sampler.tokenizer.stop_ids
        prompt = sampler.tokenizer.encode_prompt(dict(sampler.prompts)[each.prompt_id])
        logp = SequenceLogps(model)(pack([PromptGroup(prompt, (each.token_ids,), (0,))]))[0]
        assert each.logp == pytest.approx(logp.item(), abs=1e-3)


def test_draws_follow_the_distribution() -> None:
    """Chi-square over 20,000 uniforms, top_k 4 of 6 at temperature 2."""
    logits = torch.tensor([1.0, -2.0, 3.0, 0.5, 3.0, -1.0])
    tokens, logps = draw_tokens(logits.repeat(20_000, 1), torch.from_numpy(uniforms(20_000, "test")), 2.0, 4)
    kept = torch.tensor([0, 2, 3, 4])
    expected = (logits[kept] / 2).double().softmax(-1)
    counts = torch.bincount(tokens, minlength=6)[kept]
    assert counts.sum() == 20_000
    assert float(((counts - 20_000 * expected) ** 2 / (20_000 * expected)).sum()) < 16.3, "99.9 % point, 3 degrees"
    assert float(logps[tokens == 2][0]) == pytest.approx(float(expected[1].log()))


@pytest.mark.parametrize("temperature", [1e-6, 1e-39, 5e-324])
@pytest.mark.parametrize("top_k", [0, 2, 99])
def test_the_smallest_temperature_is_greedy(temperature: float, top_k: int) -> None:
    logits, draws = torch.tensor([[1.0, 90.0, -2.0]] * 3), torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    tokens, logps = draw_tokens(logits, draws, temperature, top_k)
    assert tokens.tolist() == [1, 1, 1]
    assert logps.tolist() == [0, 0, 0]


def test_sampling_stops_at_numbers_that_are_none(sampler: Any, tiny_model: Path) -> None:
    model = load_model(tiny_model)
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = torch.nan
    with pytest.raises(ModelError, match="not finite.*float32"):
        sampler(model=model)


def test_sampling_beyond_the_models_positions_is_refused(sampler: Any) -> None:
    with pytest.raises(SettingsError, match=r"the model has 2048 positions.*max_prompt_tokens"):
        sampler(max_new_tokens=2040)


def test_one_new_token(sampler: Any) -> None:
    assert all(len(each.token_ids) == 1 for each in sampler(max_new_tokens=1))


def test_uniforms_are_keyed() -> None:
    assert np.array_equal(uniforms(4, 0, "a", 1), uniforms(9, 0, "a", 1)[:4])
    assert not np.array_equal(uniforms(4, 0, "a", 1), uniforms(4, 0, "a", 2))


def scorer(tmp_path: Path, text: str) -> Any:
    (tmp_path / "s.py").write_text(text)
    return load_scorer(tmp_path / "s.py", "score")


def test_scorers_score_in_batches(tmp_path: Path) -> None:
    function = scorer(
        tmp_path, "def score(prompts, completions):\n    return [len(c) + len(p) for p, c in zip(prompts, completions)]"
    )
    prompts = [[{"role": "user", "content": "x"}]] * 5
    assert [s for batch in score_batches(function, prompts, list("abcde"), 2, "x") for s in batch] == [2.0] * 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sibling_module", "one file"),
        ("def other(): pass", "no function 'score'. Functions there: other"),
        ("def score(:", "SyntaxError"),
        ("1 / 0", "line 1: ZeroDivisionError"),
    ],
)
def test_scorer_files_that_cannot_be_loaded(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ScorerError, match=words):
        scorer(tmp_path, text)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("[1.0]", "1 scores for 2"),
        ("[1.0, float('nan')]", "row 2.*finite"),
        ("['x', 1]", "row 1.*expected a number"),
        ("1 / 0", "scoring rows 1 to 2"),
    ],
)
def test_scorers_that_answer_wrongly(tmp_path: Path, body: str, words: str) -> None:
    function = scorer(tmp_path, f"def score(prompts, completions):\n    return {body}")
    with pytest.raises(ScorerError, match=words):
        list(score_batches(function, [[], []], ["a", "b"], 8, "x"))
