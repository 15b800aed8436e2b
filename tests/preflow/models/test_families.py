"""Packed log-probs are the model's own, family by family: windows, soft caps, scaled logits, heads with a bias."""

from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from preflow.errors import ModelError
from preflow.models.check import check_model
from preflow.models.load import _switch_dropout_off
from preflow.models.packing import PromptGroup, pack
from preflow.models.sequence_logps import SequenceLogps

COMMON = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
GROUPS = [
    PromptGroup(list(range(40, 52)), (list(range(60, 70)), [7, 8, 9], [5]), (0, 1, 2)),
    PromptGroup([2, 3, 4], ([90, 91],), (3,)),
]
SUPPORTED: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", {}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    ("mistral", {"sliding_window": 6}),
    ("gemma2", {"sliding_window": 6, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0}),
    ("gemma3_text", {"sliding_window": 6, "query_pre_attn_scalar": 8}),
    ("granite", {"logits_scaling": 7.0, "residual_multiplier": 0.3, "embedding_multiplier": 12.0}),
    ("cohere", {"logit_scale": 0.3}),
    ("phi", {}),  # a head with a bias, not tied
    ("gpt_neox", {}),
    ("olmo2", {}),
    ("gpt_neo", {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 6}),
]


def network(family: str, attention: str | None = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**{**COMMON, **settings})
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def own_logps(model: Any) -> torch.Tensor:
    """[S], one sequence at a time through the plain model."""
    found = []
    for group in GROUPS:
        for completion in group.completions:
            logits = model(torch.tensor([[*group.prompt, *completion]]), use_cache=False).logits
            rows = logits.log_softmax(-1)[0, len(group.prompt) - 1 : -1]
            found.append(rows.gather(-1, torch.tensor(completion)[:, None]).sum())
    return torch.stack(found)


@pytest.mark.parametrize("attention", [None, "eager"])
@pytest.mark.parametrize(("family", "settings"), SUPPORTED, ids=[name for name, _ in SUPPORTED])
def test_packed_log_probs_and_gradients_are_the_models_own(
    family: str, settings: dict[str, Any], attention: str | None
) -> None:
    model, slope = network(family, attention, **settings), torch.tensor([1.0, -0.5, 2.0, 0.7])
    check_model(model)
    results = []
    for logps in (own_logps(model), SequenceLogps(model)(pack(GROUPS))[0]):
        model.zero_grad()
        (slope * logps).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((logps.detach(), gradient))
    (expected, expected_gradient), (found, gradient) = results
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert expected_gradient.norm() > 0.01
    assert (gradient - expected_gradient).norm() / expected_gradient.norm() < 1e-4


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4}),  # a bias by distance in the row
        ("bloom", {"n_layer": 2, "n_head": 4}),
        ("mamba", {"state_size": 8}),
    ],
)
def test_what_cannot_be_packed_is_refused(family: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="not supported"):
        check_model(network(family, "eager", **settings))


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"attention_dropout": 0.5}),
        ("opt", {"dropout": 0.5, "ffn_dim": 64, "word_embed_proj_dim": 32}),
        ("gpt_neox", {"attention_dropout": 0.5, "hidden_dropout": 0.5}),
    ],
)
def test_dropout_is_off_in_training_mode_too(family: str, settings: dict[str, Any]) -> None:
    """Gradient checkpointing needs training mode, and most families keep their rates as plain numbers."""
    model, ids = network(family, **settings), torch.arange(2, 22)[None]
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)
    _switch_dropout_off(model)
    torch.testing.assert_close(model(ids).logits, model(ids).logits, rtol=0, atol=0)
