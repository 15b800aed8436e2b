"""Reward accuracy: the same number for every method."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from preflow.evaluation.likelihood import log_ratios, mean_margin, reward_accuracy, reward_margins
from preflow.models.load import load_model
from preflow.models.sequence_logps import SequenceLogps
from preflow.text.tokenizer import Tokenizer
from preflow.training.reference import online_logps
from preflow.training.streams import pairs_stream


def stream_of(rows: Any, tokenizer: Path) -> Any:
    return pairs_stream(iter(rows), Tokenizer.load(tokenizer))


def completed(row: dict[str, Any]) -> dict[str, Any]:
    empty = dict.fromkeys(("chosen_finish", "rejected_finish", "chosen_token_ids", "rejected_token_ids"))
    return {**empty, **row}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [completed(row) for row in tiny.pair_rows(30, split="heldout")]


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("other") / "model", seed=3)


def test_the_reference_against_itself_is_exactly_one_half(rows: Any, tiny_model: Path, tiny_tokenizer: Path) -> None:
    stream, model = stream_of(rows, tiny_tokenizer), load_model(tiny_model)
    margins = reward_margins(stream, log_ratios(model, load_model(tiny_model), stream.store, 256))
    assert np.all(margins == 0)
    estimate = reward_accuracy(stream, margins, 0.95, 0)
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_margins_are_differences_of_the_models_log_probs(
    rows: Any, tiny_model: Path, other_model: Path, tiny_tokenizer: Path
) -> None:
    stream, models = stream_of(rows, tiny_tokenizer), [load_model(other_model), load_model(tiny_model)]
    seen: list[tuple[int, int]] = []
    margins = reward_margins(stream, log_ratios(*models, stream.store, 200, lambda *each: seen.append(each)))
    policy, reference = (
        online_logps(SequenceLogps(each), stream.store, micro_batch_tokens=4096, device=each.device)[0]
        for each in models
    )
    chosen, rejected = stream.roles["chosen"], stream.roles["rejected"]
    expected = (policy[chosen] - reference[chosen]) - (policy[rejected] - reference[rejected])
    np.testing.assert_allclose(margins, expected, atol=1e-3)
    assert reward_accuracy(stream, margins, 0.95, 0).mean == pytest.approx((expected > 0).mean())
    assert seen[-1] == (2 * len(stream.store), 2 * len(stream.store))
    assert seen == sorted(seen)


def test_aggregated_votes_count_as_their_rows_would(rows: Any, tiny_tokenizer: Path) -> None:
    """Three votes for a pair and one against it: as four rows, and as one row with weight 4 and preference 3/4."""
    first, others = rows[0], rows[1:6]
    against = {**first, "chosen": first["rejected"], "rejected": first["chosen"]}
    kept = stream_of([first, first, against, first, *others], tiny_tokenizer)
    aggregated = stream_of([{**first, "weight": 4.0, "preference": 0.75}, *others], tiny_tokenizer)
    ratio_of = dict(zip(kept.store.ids, np.random.default_rng(0).normal(size=len(kept.store)), strict=True))
    accuracies, margins = [], []
    for stream in (kept, aggregated):
        found = reward_margins(stream, np.array([ratio_of[each] for each in stream.store.ids]))
        accuracies.append(reward_accuracy(stream, found, 0.95, 0))
        margins.append(mean_margin(stream, found))
    assert (accuracies[0].mean, accuracies[0].low, accuracies[0].high) == pytest.approx(
        (accuracies[1].mean, accuracies[1].low, accuracies[1].high)
    )
    assert margins[0] == pytest.approx(margins[1])


def test_pairs_of_one_prompt_are_one_unit(rows: Any, tiny_tokenizer: Path) -> None:
    same = [{**row, "prompt": rows[0]["prompt"]} for row in rows]
    stream = stream_of(same, tiny_tokenizer)
    estimate = reward_accuracy(stream, np.linspace(-1, 1, len(stream)), 0.95, 0)
    assert estimate.clusters == 1
    assert estimate.low is None
