"""The step `evaluate` on tiny models."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_model

import completion_rows
import tiny
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS
from preflow.artifacts.manifest import read_manifest, write_manifest
from preflow.errors import ArtifactError, ScorerError, SettingsError
from preflow.models.load import load_model
from preflow.models.values import ValueNetwork
from preflow.settings.evaluate import EvaluateSettings
from preflow.steps.evaluate import step as evaluate_step
from preflow.steps.evaluate.phases import Phases
from preflow.steps.kit import Step
from preflow.tracking.journal import Journal, latest, read_journal

LENGTH_JUDGE = "def words(prompts, completions):\n    return [float(len(text)) for text in completions]\n"
FEW = "its interval is too narrow"


@dataclass
class Result:
    numbers: dict[str, float]
    samples: list[dict[str, Any]]
    journal: Journal

    def of(self, side: str) -> list[dict[str, Any]]:
        return [row for row in self.samples if row["source"] == side]


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("other") / "model", seed=3)


@pytest.fixture
def evaluate(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path, other_model: Path) -> Callable[..., Result]:
    """Runs the step on held-out pairs; `policy`, `rows`, `kind` and `judge` replace what it gets."""
    runs: Iterator[int] = iter(range(100))

    def run(
        policy: Path = other_model, rows: Any = None, kind: Any = PAIRS, judge: str = LENGTH_JUDGE, **settings: Any
    ) -> Result:
        folder = tmp_path / f"run{next(runs)}"
        folder.mkdir()
        write_rows(folder / "heldout", kind, tiny.pair_rows(24, split="heldout") if rows is None else rows)
        (folder / "judge.py").write_text(judge)
        values = {"max_new_tokens": 6, "judge_function": "words" if judge else None, "micro_batch_tokens": 512}
        step = Step.detached(folder, EvaluateSettings(**values | settings).canonical(), "evaluate")
        evaluate_step.run(
            step,
            policy=str(policy),
            reference=str(tiny_model),
            tokenizer=str(tiny_tokenizer),
            heldout=str(folder / "heldout"),
            judge=str(folder / "judge.py"),
            samples=str(folder / "samples"),
            numbers=str(folder / "numbers"),
        )
        step.write_journal({})
        numbers = json.loads((folder / "numbers").read_text())
        return Result(numbers, list(read_rows(folder / "samples", COMPLETIONS)), read_journal(folder / "journal.json"))

    return run


def test_all_headline_numbers_are_there_and_in_the_journal(evaluate: Callable[..., Result]) -> None:
    found = evaluate(samples_per_prompt=2)
    numbers = found.numbers
    for name in ("reward_accuracy", "win_rate"):
        low, mean, high = (numbers[f"eval/{name}{suffix}"] for suffix in ("_low", "", "_high"))
        assert 0 <= low <= mean <= high <= 1
        assert low < high
    assert numbers["eval/kl_to_reference"] > 4 * numbers["eval/kl_to_reference_se"] > 0
    assert numbers["eval/length_ratio"] > 0
    assert numbers["eval/pairs"] == numbers["heldout_prompts"] == 24
    expected = {name: value for name, value in numbers.items() if name != "heldout_prompts"}
    assert latest(found.journal) == pytest.approx(expected)
    assert found.journal["warnings"] == []


def test_the_reference_against_itself(evaluate: Callable[..., Result], tiny_model: Path) -> None:
    numbers = evaluate(policy=tiny_model, samples_per_prompt=2).numbers
    assert (numbers["eval/reward_accuracy_low"], numbers["eval/reward_accuracy_high"]) == (0.5, 0.5)
    assert numbers["eval/reward_margin"] == numbers["eval/kl_to_reference"] == 0
    assert numbers["eval/win_rate_low"] < 0.5 < numbers["eval/win_rate_high"]


def test_samples_stand_side_by_side(evaluate: Callable[..., Result], tiny_model: Path, other_model: Path) -> None:
    found = evaluate(samples_per_prompt=2)
    digests = {"policy": read_manifest(other_model).digest, "baseline": read_manifest(tiny_model).digest}
    keys = {side: {(row["prompt_id"], row["sample_index"]) for row in found.of(side)} for side in digests}
    assert keys["policy"] == keys["baseline"]
    assert len(keys["policy"]) == 48
    assert len({row["completion_id"] for row in found.samples}) == 96
    for row in found.samples:
        assert row["policy"] == digests[row["source"]]
        assert (row["split"], row["scorer"], row["temperature"]) == ("heldout", "words", 0.7)
        assert row["score"] == len(row["text"])
        assert row["prompt"][0]["role"] == "user"


def test_policy_and_baseline_draw_independently(evaluate: Callable[..., Result], tiny_model: Path) -> None:
    """Shared random numbers would make equal models write equal texts, and the win rate another quantity."""
    found = evaluate(policy=tiny_model)
    texts = [[row["token_ids"] for row in found.of(side)] for side in ("policy", "baseline")]
    assert sum(one != other for one, other in zip(*texts, strict=True)) > 20


def test_batch_size_order_and_budget_change_no_sample(evaluate: Callable[..., Result]) -> None:
    rows = list(tiny.pair_rows(24, split="heldout"))
    first = evaluate(rows=rows, batch_size=64)
    second = evaluate(rows=rows[::-1], batch_size=5, micro_batch_tokens=100)
    assert [row["token_ids"] for row in first.samples] == [row["token_ids"] for row in second.samples]
    assert first.numbers == pytest.approx(second.numbers, rel=1e-4)


def test_the_first_prompts_by_hash_are_sampled_and_all_pairs_are_read(evaluate: Callable[..., Result]) -> None:
    found = evaluate(max_prompts=5)
    prompts = sorted({row["prompt_id"] for row in tiny.pair_rows(24)})
    assert sorted({row["prompt_id"] for row in found.samples}) == prompts[:5]
    assert found.numbers["eval/pairs"] == 24
    assert [FEW in each for each in found.journal["warnings"]] == [True]
    assert "eval/win_rate comes from 5 prompts" in found.journal["warnings"][0]


def test_prompts_alone_have_no_reward_accuracy(evaluate: Callable[..., Result]) -> None:
    numbers = evaluate(rows=tiny.prompt_rows(24, split="heldout"), kind=PROMPTS).numbers
    assert "eval/reward_accuracy" not in numbers
    assert {"eval/win_rate", "eval/kl_to_reference"} <= set(numbers)


def test_without_a_judge_there_is_no_win_rate(evaluate: Callable[..., Result]) -> None:
    found = evaluate(judge="")
    assert not any("win" in name or "judge" in name for name in found.numbers)
    assert {row["score"] for row in found.samples} == {None}
    assert "eval/length_ratio" in found.numbers


def test_chosen_texts_as_baseline(evaluate: Callable[..., Result]) -> None:
    found = evaluate(baseline="chosen", samples_per_prompt=2, max_new_tokens=30, kl_samples_per_prompt=0)
    chosen = {row["prompt_id"]: row["chosen"] for row in tiny.pair_rows(24)}
    assert [row["text"] for row in found.of("baseline")] == [chosen[row["prompt_id"]] for row in found.of("baseline")]
    assert {row["policy"] for row in found.of("baseline")} == {None}
    assert found.numbers["eval/baseline_finished_share"] == 1
    assert found.journal["warnings"] == []


def test_longer_chosen_texts_are_no_fair_baseline(evaluate: Callable[..., Result]) -> None:
    warnings = evaluate(baseline="chosen", max_new_tokens=2).journal["warnings"]
    assert any("longer than evaluate.max_new_tokens (2)" in each for each in warnings)


def test_chosen_needs_pairs(evaluate: Callable[..., Result]) -> None:
    with pytest.raises(SettingsError, match="Hold out pairs"):
        evaluate(rows=tiny.prompt_rows(3, split="heldout"), kind=PROMPTS, baseline="chosen")


def test_a_judge_that_was_trained_on_is_no_judge(evaluate: Callable[..., Result]) -> None:
    assert "the judge is the scorer" in evaluate(judge_is_scorer=True).journal["warnings"][0]


def test_training_rows_are_refused(evaluate: Callable[..., Result]) -> None:
    rows = [*tiny.pair_rows(2, split="heldout"), *tiny.pair_rows(1, seed=9, split="train")]
    with pytest.raises(ArtifactError, match=r"row 3: split train, expected heldout"):
        evaluate(rows=rows)


def test_nothing_held_out_is_said(evaluate: Callable[..., Result]) -> None:
    found = evaluate(rows=[])
    assert found.numbers == {"heldout_prompts": 0}
    assert found.samples == []
    assert "nothing was measured" in found.journal["warnings"][0]


def test_a_wrong_judge_is_found_before_a_model_is_loaded(
    evaluate: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_step, "load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(ScorerError, match="returned 2 scores for 1 completion"):
        evaluate(judge="def words(prompts, completions):\n    return [1.0, 2.0]\n")
    with pytest.raises(ScorerError, match="no function 'words'"):
        evaluate(judge="def other(prompts, completions):\n    return []\n")


def test_nothing_sampled_means_no_win_rate_and_a_word_about_it(evaluate: Callable[..., Result]) -> None:
    found = evaluate(samples_per_prompt=0, kl_samples_per_prompt=0)
    assert "eval/win_rate" not in found.numbers
    assert "eval/kl_to_reference" not in found.numbers
    assert 0 <= found.numbers["eval/reward_accuracy"] <= 1
    assert "nothing to judge" in found.journal["warnings"][0]


def test_progress_runs_once_from_nothing_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, str]] = []
    step = Step.detached(tmp_path)
    monkeypatch.setattr(step, "progress", lambda done, total, unit, note="": seen.append((done, total, note)))
    phases = Phases(step, {"one": 4, "none": 0, "two": 6})
    phases["one"](1, 2)
    phases["one"](2, 2)
    phases["two"](3, 3)
    assert seen == [(0, 10, ""), (2, 10, "one"), (4, 10, "one"), (10, 10, "two")]


QUIET = {"samples_per_prompt": 0, "kl_samples_per_prompt": 0, "judge": ""}


def test_labelled_completions_are_ranked_and_their_prompts_sampled(evaluate: Callable[..., Result]) -> None:
    found = evaluate(rows=completion_rows.labelled(24, split="heldout"), kind=COMPLETIONS)
    numbers = found.numbers
    assert 0 < numbers["eval/reward_concordance"] < 1 and numbers["eval/reward_concordance_se"] > 0
    assert {"eval/win_rate", "eval/kl_to_reference", "eval/desirable_log_ratio", "eval/undesirable_log_ratio"} <= set(
        numbers
    )
    assert numbers["eval/completions"] == numbers["heldout_prompts"] == 24
    assert numbers["eval/completion_log_ratio"] == pytest.approx(
        (numbers["eval/desirable_log_ratio"] + numbers["eval/undesirable_log_ratio"]) / 2
    )
    assert found.journal["warnings"] == []


def test_the_reference_ranks_nothing(evaluate: Callable[..., Result], tiny_model: Path) -> None:
    for rows in (completion_rows.labelled, completion_rows.scored):
        numbers = evaluate(policy=tiny_model, rows=rows(12, split="heldout"), kind=COMPLETIONS, **QUIET).numbers
        assert numbers["eval/reward_concordance"] == 0.5
        assert numbers["eval/completion_log_ratio"] == 0
        assert "eval/residual" not in numbers


def test_completions_without_labels_have_a_log_ratio(evaluate: Callable[..., Result]) -> None:
    """Unwanted or to be forgotten: nothing to rank."""
    plain = evaluate(rows=completion_rows.completions(6, split="heldout"), kind=COMPLETIONS, **QUIET).numbers
    assert set(plain) == {"eval/completion_log_ratio", "eval/completions", "heldout_prompts"}
    unwanted = evaluate(
        rows=completion_rows.completions(6, split="heldout", desirable=False), kind=COMPLETIONS, **QUIET
    )
    assert set(unwanted.numbers) - set(plain) == {"eval/undesirable_log_ratio"}


def test_scores_are_scaled_as_in_training(evaluate: Callable[..., Result], tmp_path: Path) -> None:
    """A value network of zeros and an untouched policy leave the standardised scores themselves."""
    policy = tiny.make_model(tmp_path / "policy")
    (policy / "value").mkdir()
    save_model(ValueNetwork(load_model(policy)), str(policy / "value" / "model.safetensors"))
    write_manifest(policy, {"score_mean": 3.0, "score_std": 2.0})
    rows = list(completion_rows.completions(4, split="heldout", score=lambda number: [1.0, 3.0, 5.0, 7.0][number]))
    numbers = evaluate(policy=policy, rows=rows, kind=COMPLETIONS, beta=0.7, **QUIET).numbers
    assert numbers["eval/residual"] == pytest.approx(((1 + 0 + 1 + 4) / 4) ** 0.5, abs=1e-5), "(-1, 0, 1, 2)"
    assert numbers["eval/explained_variance"] == pytest.approx(0, abs=1e-5)


def test_training_completions_are_refused(evaluate: Callable[..., Result]) -> None:
    with pytest.raises(ArtifactError, match="row 1: split train, expected heldout"):
        evaluate(rows=completion_rows.labelled(2), kind=COMPLETIONS)
