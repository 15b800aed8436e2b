"""What rounds need: shares of the prompts, draws of their own, pairs of earlier rounds, the better of two models."""

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from candidate_rows import facts_of
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS
from preflow.artifacts.manifest import read_manifest
from preflow.errors import ArtifactError, DataError, SettingsError
from preflow.settings.generate import GenerateSettings
from preflow.settings.history import HistorySettings
from preflow.settings.select import SelectSettings
from preflow.steps.generate_candidates import step as generate
from preflow.steps.kit import Step
from preflow.steps.merge_history import step as merge_history
from preflow.steps.select_model import step as select_model
from preflow.tracking.journal import read_journal

Rows = list[dict[str, Any]]


@pytest.fixture
def sampled(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> Any:
    """A function that samples with some settings and returns the rows."""
    write_rows(tmp_path / "prompts", PROMPTS, tiny.prompt_rows(7))

    def run(**settings: Any) -> Rows:
        options = {"candidates_per_prompt": 2, "max_new_tokens": 6, "temperature": 1.0, "top_k": 0} | settings
        generate.run(
            Step.detached(tmp_path, GenerateSettings(**options).canonical()),
            prompts=str(tmp_path / "prompts"),
            model=str(tiny_model),
            tokenizer=str(tiny_tokenizer),
            completions=str(tmp_path / "completions"),
        )
        return list(read_rows(tmp_path / "completions", COMPLETIONS))

    return run


def draws(rows: Rows) -> dict[tuple[str, int], list[int]]:
    return {(row["prompt_id"], row["sample_index"]): row["token_ids"] for row in rows}


def test_shares_are_a_partition_and_change_no_draw(sampled: Any) -> None:
    whole = draws(sampled())
    shares = [draws(sampled(shard=shard, shards=3)) for shard in range(3)]
    assert sum(map(len, shares)) == len(whole) == 14
    assert {key: tokens for share in shares for key, tokens in share.items()} == whole


def test_a_round_has_draws_of_its_own(sampled: Any) -> None:
    first, second = draws(sampled()), draws(sampled(round=1))
    assert first.keys() == second.keys()
    assert sum(first[key] != second[key] for key in first) > 10
    assert draws(sampled(round=1)) == second
    assert draws(sampled(round=1, seed=5)) != second


def test_an_empty_share_says_what_to_do(sampled: Any) -> None:
    with pytest.raises(DataError, match=r"share \d+ of 1000003; .* set rounds.prompts to all"):
        sampled(shard=0, shards=1000003)


def test_the_samplers_log_probs_of_every_token(sampled: Any) -> None:
    for row in sampled(candidates_per_prompt=3):
        assert len(row["sampler_token_logps"]) == len(row["token_ids"])
        assert sum(row["sampler_token_logps"]) == pytest.approx(row["sampler_logp"], rel=1e-5)
        assert max(row["sampler_token_logps"]) <= 0


def test_an_instruction_steers_the_sampler_alone(sampled: Any, tmp_path: Path) -> None:
    plain, steered = sampled(), sampled(instruction="Be kind.")
    assert sum(draws(plain)[key] != tokens for key, tokens in draws(steered).items()) > 7
    prompts = {row["prompt_id"]: row["prompt"] for row in read_rows(tmp_path / "prompts", PROMPTS)}
    for row in steered:
        assert row["prompt"] == prompts[row["prompt_id"]], "what is trained on is the prompt alone"
    message = {"role": "user", "content": "Hello"}
    system = {"role": "system", "content": "Answer shortly."}
    assert generate._steered([message], "Be kind.") == [{"role": "system", "content": "Be kind."}, message]
    joined = {"role": "system", "content": "Be kind.\nAnswer shortly."}
    assert generate._steered([system, message], "Be kind.") == [joined, message]


def merge(folder: Path, new: Rows, earlier: Rows, **settings: Any) -> tuple[Rows, Rows, dict[str, Any]]:
    """(merged, history, facts)."""
    for name, rows in (("new", new), ("earlier", earlier)):
        write_rows(folder / name, PAIRS, rows)
    step = Step.detached(folder, HistorySettings(**settings).canonical())
    paths = {"pairs": "new", "earlier": "earlier", "merged": "merged", "history": "history"}
    merge_history.run(step, **{name: str(folder / place) for name, place in paths.items()})
    return *(list(read_rows(folder / name, PAIRS)) for name in ("merged", "history")), facts_of(step)


def test_history_is_one_artifact_that_grows(tmp_path: Path) -> None:
    """Thirty per cent of the last round's pairs, fifteen of the one before."""
    first, second, third = (list(tiny.pair_rows(count, seed)) for seed, count in ((1, 20), (2, 10), (3, 5)))
    merged, history, facts = merge(tmp_path, second, first, round=1)
    assert (len(merged), len(history)) == (10 + 6, 30)
    assert facts["old_pairs"] == 6
    assert [row["pair_id"] for row in merged[:10]] == [row["pair_id"] for row in second], "the new ones come first"
    assert {row["round"] for row in history} == {0, 1}
    merged, longer, facts = merge(tmp_path, third, history, round=2)
    assert (facts["pairs_of_round_1"], facts["pairs_of_round_0"]) == (3, 3)
    assert [row["round"] for row in merged] == [2] * 5 + [1] * 3 + [0] * 3
    assert len(longer) == 35
    again, _, _ = merge(tmp_path, third, history[::-1], round=2)
    assert {row["pair_id"] for row in again} == {row["pair_id"] for row in merged}, "the draw hangs on ids alone"
    other, _, _ = merge(tmp_path, third, history, round=2, seed=1)
    assert {row["pair_id"] for row in other} != {row["pair_id"] for row in merged}


def test_a_pair_that_comes_again_counts_once(tmp_path: Path) -> None:
    rows = list(tiny.pair_rows(10))
    merged, history, _ = merge(tmp_path, rows[:4], rows, round=1, newest_share=1.0)
    assert len(merged) == len(history) == 10
    assert sum(row["round"] for row in history) == 4


def test_pairs_of_a_later_round_are_refused(tmp_path: Path) -> None:
    later = [row | {"round": 2} for row in tiny.pair_rows(3)]
    with pytest.raises(ArtifactError, match="is of round 2, expected rounds before 1"):
        merge(tmp_path, list(tiny.pair_rows(3, seed=4)), later, round=1)


def select(folder: Path, values: tuple[dict[str, float], dict[str, float]], metric: str = "eval/win_rate") -> Step:
    paths = {}
    for side, numbers in zip(("first", "second"), values, strict=True):
        tiny.make_model(folder / side, seed=len(side))
        (folder / f"{side}_numbers").write_text(json.dumps(numbers))
        (folder / f"{side}_train_journal").write_text(json.dumps({"step": side}))
        paths |= {name: str(folder / name) for name in (side, f"{side}_numbers", f"{side}_train_journal")}
    step = Step.detached(folder, SelectSettings(metric=metric).canonical())
    outputs = {name: str(folder / "out" / name) for name in ("trained", "numbers", "train_journal")}
    select_model.run(step, **paths, **outputs)
    return step


@pytest.mark.parametrize(("first", "second", "kept"), [(0.6, 0.7, "second"), (0.7, 0.6, "first"), (0.6, 0.6, "first")])
def test_the_better_model_is_kept_with_its_numbers(tmp_path: Path, first: float, second: float, kept: str) -> None:
    facts = facts_of(select(tmp_path, ({"eval/win_rate": first}, {"eval/win_rate": second})))
    assert facts["kept"] == kept
    assert read_manifest(tmp_path / "out" / "trained").digest == read_manifest(tmp_path / kept).digest
    weights = "model.safetensors"
    assert (tmp_path / "out" / "trained" / weights).read_bytes() == (tmp_path / kept / weights).read_bytes()
    assert json.loads((tmp_path / "out" / "numbers").read_text()) == {"eval/win_rate": max(first, second)}
    assert read_journal(tmp_path / "out" / "train_journal")["step"] == kept


def test_no_better_than_the_start_is_said(tmp_path: Path) -> None:
    step = select(tmp_path, ({"eval/win_rate": 0.4}, {"eval/win_rate": 0.45}))
    step.write_journal({})
    assert "neither model wins as often as the start model" in read_journal(step.journal_path)["warnings"][0]


def test_a_metric_that_was_not_measured(tmp_path: Path) -> None:
    numbers = {"eval/reward_accuracy": 0.5}
    with pytest.raises(SettingsError, match=r"rounds.metric is eval/win_rate, but .* measured eval/reward_accuracy"):
        select(tmp_path, (numbers, numbers))
    assert facts_of(select(tmp_path, (numbers, numbers), "eval/reward_accuracy"))["kept"] == "first"
