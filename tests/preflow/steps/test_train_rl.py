"""Reinforcement learning on tiny files: each algorithm, each kind of scorer, and what the published policy is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import PAIRS, PROMPTS
from preflow.errors import DataError, ScorerError
from preflow.settings.reward_model import RewardModelOptions, RewardModelSettings
from preflow.settings.rl import RLSettings
from preflow.settings.score import ScoreSection
from preflow.settings.train import LoraSettings, TrainOptions
from preflow.steps.kit import Step
from preflow.steps.train_reward_model import step as reward_step
from preflow.steps.train_rl import step as rl_step
from preflow.tracking.journal import metric_names, read_journal, series

SCORER = "def a_share(prompts, completions):\n    return [text.count('a') / (1 + len(text)) for text in completions]\n"


@pytest.fixture
def inputs(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> dict[str, str]:
    write_rows(tmp_path / "prompts", PROMPTS, ({**row, "answer": "a"} for row in tiny.prompt_rows(6)))
    (tmp_path / "scorer.py").write_text(SCORER)
    paths = {"prompts": tmp_path / "prompts", "scorer": tmp_path / "scorer.py"}
    return {name: str(path) for name, path in {**paths, "model": tiny_model, "tokenizer": tiny_tokenizer}.items()}


def train(inputs: dict[str, str], folder: Path, scorer: str = "scorer.py:a_share", **values: Any) -> dict[str, Any]:
    """The journal."""
    common = {"rollouts": 2, "prompts_per_rollout": 3, "samples_per_prompt": 4, "max_new_tokens": 6, "batch_size": 6}
    settings = RLSettings(**{**common, "learning_rate": 1e-3, **values}, score=ScoreSection(scorer=scorer).settings())
    step = Step.detached(folder, settings.canonical(), "train_rl")
    rl_step.run(step, **inputs, trained=str(folder / "trained"))
    step.write_journal({})
    return dict(read_journal(folder / "journal.json"))


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
def test_every_algorithm_trains_and_says_how_it_goes(inputs: dict[str, str], tmp_path: Path, algorithm: str) -> None:
    journal = train(inputs, tmp_path / "a", algorithm=algorithm)
    names = set(metric_names(journal))
    assert {f"train/{name}" for name in ("score", "score_std", "reward", "reward_std", "kl", "kl_per_token")} <= names
    assert {f"train/{name}" for name in ("entropy", "clip_fraction", "approx_kl", "unfinished_share")} <= names
    assert {f"train/{name}" for name in ("completion_tokens", "zero_std_groups", "beta_equivalent")} <= names
    assert ({"train/value_loss", "train/explained_variance", "train/value_grad_norm"} <= names) == (algorithm == "ppo")
    assert len(series(journal, "train/loss")) == 4
    assert series(journal, "train/kl")[0][1] == pytest.approx(0.0, abs=1e-5), "the policy is its reference at first"
    assert series(journal, "train/kl")[-1][1] != pytest.approx(0.0, abs=1e-5)
    before, after = (
        load_file(Path(folder) / "model.safetensors") for folder in (inputs["model"], tmp_path / "a" / "trained")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert journal["facts"]["scorer"].endswith(":a_share")


def test_the_score_rises(inputs: dict[str, str], tmp_path: Path) -> None:
    journal = train(
        inputs, tmp_path / "a", algorithm="rloo", rollouts=12, prompts_per_rollout=6, samples_per_prompt=8, batch_size=48,
        learning_rate=3e-3, beta=0.0, missing_end_penalty=0.0,
    )  # fmt: skip
    scores = [value for _, value in series(journal, "train/score")]
    assert sum(scores[-3:]) > 1.5 * sum(scores[:3])


def test_a_reward_model_scores_and_lends_its_backbone_to_the_value_network(
    inputs: dict[str, str], tmp_path: Path
) -> None:
    write_rows(tmp_path / "pairs", PAIRS, tiny.pair_rows(8))
    options = RewardModelOptions(batch_size=4, learning_rate=3e-3, epochs=4)
    own = {name: getattr(options, name) for name in TrainOptions.model_fields}
    settings = RewardModelSettings(**own, objective=options.terms(), beta_equivalent=None)
    step = Step.detached(tmp_path / "reward", settings.canonical(), "train_reward_model")
    folder = tmp_path / "reward" / "trained"
    reward_step.run(
        step, data=str(tmp_path / "pairs"), model=inputs["model"], tokenizer=inputs["tokenizer"], trained=str(folder)
    )
    journal = train({**inputs, "scorer": str(folder)}, tmp_path / "a", scorer="reward_model", rollouts=1)
    assert journal["facts"]["scorer"].endswith(":scalar")
    (first,) = series(journal, "train/explained_variance")
    assert first[1] != 0, "the value network starts as the reward model, not at zero"
    assert series(journal, "train/value_mean")[0][1] != 0


def test_a_prompts_own_answer_scores(inputs: dict[str, str], tmp_path: Path) -> None:
    journal = train(inputs, tmp_path / "a", scorer="verifiable", algorithm="grpo", rollouts=1)
    assert 0 <= series(journal, "train/score")[0][1] <= 1
    write_rows(tmp_path / "prompts", PROMPTS, tiny.prompt_rows(6))
    with pytest.raises(ScorerError, match="has no answer"):
        train(inputs, tmp_path / "b", scorer="verifiable", algorithm="grpo")


def test_prompts_of_pairs_do_as_well_and_none_is_an_error(inputs: dict[str, str], tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs", PAIRS, tiny.pair_rows(5))
    assert train({**inputs, "prompts": str(tmp_path / "pairs")}, tmp_path / "a", rollouts=1)["facts"]["prompts"] == 5
    write_rows(tmp_path / "none", PROMPTS, [])
    with pytest.raises(DataError, match="no training prompts"):
        train({**inputs, "prompts": str(tmp_path / "none")}, tmp_path / "b")


def test_an_adapter_is_trained_against_its_base(inputs: dict[str, str], tmp_path: Path) -> None:
    journal = train(inputs, tmp_path / "a", algorithm="rloo", lora=LoraSettings(rank=2), learning_rate=1e-2)
    kls = [value for _, value in series(journal, "train/kl")]
    assert kls[0] == pytest.approx(0.0, abs=1e-5)
    assert abs(kls[1]) > 1e-4
    assert (tmp_path / "a" / "trained" / "adapter" / "adapter_model.safetensors").is_file()


def test_same_seed_same_bytes_whatever_the_sizes_of_passes(inputs: dict[str, str], tmp_path: Path) -> None:
    """The same draws: how many sequences are decoded at once changes no sample."""
    train(inputs, tmp_path / "a", rollouts=1)
    train(inputs, tmp_path / "b", rollouts=1)
    first, second = (json.loads((tmp_path / name / "trained" / "manifest.json").read_text())["files"] for name in "ab")
    assert first == second
    scores = [
        series(train(inputs, tmp_path / f"c{size}", rollouts=1, sampling_batch_size=size), "train/score")[0]
        for size in (4, 64)
    ]
    assert scores[0][1] == pytest.approx(scores[1][1])


def test_gradient_checkpointing_samples_with_a_cache(inputs: dict[str, str], tmp_path: Path) -> None:
    plain = train(inputs, tmp_path / "a", rollouts=2)
    spared = train(inputs, tmp_path / "b", rollouts=2, gradient_checkpointing=True)
    found = [[value for _, value in series(journal, "train/score")] for journal in (plain, spared)]
    assert found[0] == pytest.approx(found[1], abs=1e-6)
