"""Reward models on tiny files: first losses, groups of a prompt's pairs, what is published and what reads it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from preflow.artifacts.ids import completion_id, pair_id
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import PAIRS, PROMPTS
from preflow.errors import ArtifactError, ModelError
from preflow.losses.reward_model import ranked_pair_losses
from preflow.models.reward_model import Answer, RewardModel, RewardModelJudge, sigmoid
from preflow.settings.reward_model import RewardModelOptions, RewardModelSettings
from preflow.settings.section import Section
from preflow.settings.train import LoraSettings, TrainOptions
from preflow.steps.kit import Step
from preflow.steps.train_reward_model import step as reward_step
from preflow.text.tokenizer import Tokenizer
from preflow.tracking.journal import latest, read_journal, series
from preflow.training.gradient import GradientEngine, OptimizerBatch
from preflow.training.reward_model import prepare_reward_model


def settings_of(**values: Any) -> RewardModelSettings:
    options = RewardModelOptions(batch_size=4, learning_rate=3e-3, micro_batch_tokens=256, **values)
    own = {name: getattr(options, name) for name in TrainOptions.model_fields}
    return RewardModelSettings(**own, head=options.head, objective=options.terms(), beta_equivalent=None)


@pytest.fixture
def inputs(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> dict[str, str]:
    write_rows(tmp_path / "pairs", PAIRS, tiny.pair_rows(16))
    write_rows(tmp_path / "heldout", PAIRS, tiny.pair_rows(8, seed=7, split="heldout"))
    paths = {"data": tmp_path / "pairs", "heldout": tmp_path / "heldout"}
    return {name: str(path) for name, path in {**paths, "model": tiny_model, "tokenizer": tiny_tokenizer}.items()}


def train(inputs: dict[str, str], folder: Path, settings: Section) -> Step:
    step = Step.detached(folder, settings.canonical(), "train_reward_model")
    reward_step.run(step, **inputs, trained=str(folder / "trained"))
    step.write_journal({})
    return step


@pytest.mark.parametrize("head", ["scalar", "pairwise"])
def test_first_loss_is_log_two_and_good_is_told_from_bad(inputs: dict[str, str], tmp_path: Path, head: str) -> None:
    train(inputs, tmp_path / "a", settings_of(head=head, epochs=12, schedule="constant"))
    journal = read_journal(tmp_path / "a" / "journal.json")
    losses = [value for _, value in series(journal, "train/loss")]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert dict(series(journal, "train/reward_accuracy"))[1] == 0.5
    assert losses[-1] < 0.2
    found = latest(journal)
    assert found["eval/reward_model_accuracy"] > 0.9
    assert found["eval/reward_model_accuracy_low"] <= found["eval/reward_model_accuracy"]
    assert found["eval/reward_model_loss"] < math.log(2)


def test_a_published_model_scores_texts_with_its_own_tokenizer(inputs: dict[str, str], tmp_path: Path) -> None:
    train(inputs, tmp_path / "a", settings_of(epochs=8, schedule="constant"))
    model = RewardModel(tmp_path / "a" / "trained")
    prompts = [row["prompt"] for row in tiny.pair_rows(5)]
    answers = [Answer(prompt, text) for prompt in prompts for text in ("good a cat", "bad a cat", "good a cat sees")]
    rewards = model.rewards(answers)
    alone = [model.rewards([answer])[0] for answer in answers]
    assert rewards == pytest.approx(alone, abs=1e-5), "batches and order leave a reward alone"
    assert sum(good > bad for good, bad in zip(rewards[::3], rewards[1::3], strict=True)) >= 4
    assert model.rewards([Answer(prompts[0], "good", finished=False)]) != model.rewards([Answer(prompts[0], "good")])
    assert all(math.isfinite(each) for each in model.rewards([Answer(prompts[0], "", finished=False)]))
    pairs = [(answers[0], answers[1])]
    assert model.first_wins(pairs)[0] == pytest.approx(rewards[0] - rewards[1], abs=1e-5)


def test_a_pairwise_model_judges_and_has_no_reward(inputs: dict[str, str], tmp_path: Path) -> None:
    train(inputs, tmp_path / "a", settings_of(head="pairwise", epochs=12, schedule="constant"))
    judge = RewardModelJudge(tmp_path / "a" / "trained")
    prompts = [row["prompt"] for row in tiny.pair_rows(6)]
    there = judge.probabilities(prompts, ["good a cat"] * 6, ["bad a cat"] * 6)
    back = judge.probabilities(prompts, ["bad a cat"] * 6, ["good a cat"] * 6)
    averaged = (np.array(there) + 1 - np.array(back)) / 2
    assert (averaged > 0.5).mean() > 0.8, "the order was flipped in training, so the model reads"
    assert np.mean(there) > np.mean(back)
    assert judge.version
    with pytest.raises(ModelError, match="no reward of one"):
        judge.model.rewards([Answer(prompts[0], "good")])


def ranked_rows(counts: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """All pairs of K ranked texts of each prompt."""
    for number, row in enumerate(tiny.prompt_rows(len(counts))):
        texts = tiny.sentences(counts[number], seed=number + 1)
        for better in range(len(texts)):
            for worse in range(better + 1, len(texts)):
                first, second = (completion_id(row["prompt_id"], texts[n], "human") for n in (better, worse))
                yield {
                    **{key: row[key] for key in ("prompt_id", "prompt", "source", "split")},
                    "pair_id": pair_id(row["prompt_id"], first, second),
                    "chosen": texts[better],
                    "rejected": texts[worse],
                    "chosen_id": first,
                    "rejected_id": second,
                    "preference": 1.0,
                    "weight": 1.0,
                }


def test_all_pairs_of_a_prompt_are_one_example(inputs: dict[str, str], tmp_path: Path) -> None:
    """The engine's gradient is that of the mean over prompts of the mean over each one's pairs, one forward per answer."""
    counts = (4, 2, 3)
    write_rows(tmp_path / "ranked", PAIRS, ranked_rows(counts))
    settings, tokenizer = settings_of(head="scalar"), Tokenizer.load(inputs["tokenizer"])
    training = prepare_reward_model(settings, str(tmp_path / "ranked"), inputs["model"], tokenizer, lambda done: None)
    stream, module = training.streams["data"], training.module.double()
    torch.nn.init.normal_(module.head.weight)
    assert stream.num_examples == 3
    assert len(stream) == 6 + 1 + 3
    assert len(stream.store) == sum(counts), "a forward per answer, not per pair"
    engine = GradientEngine(
        module, training.streams, training.terms, micro_batch_tokens=64, device=torch.device("cpu"),
        quantities=module.quantities,
    )  # fmt: skip
    result = engine.accumulate(OptimizerBatch({"data": stream.rows_of(np.arange(3))}))
    found = torch.cat([p.grad.flatten() for p in training.trained.values() if p.grad is not None])

    from preflow.models.packing import PromptGroup, pack

    module.zero_grad(set_to_none=True)
    losses = []
    for rows in stream.examples:
        order = list(dict.fromkeys(stream.roles["chosen"][rows].tolist() + stream.roles["rejected"][rows].tolist()))
        prompt = stream.store.prompts[stream.store.prompt_of[order[0]]]
        rewards = [module(pack([PromptGroup(prompt, (stream.store.completions[n],), (0,))]))[0, 0] for n in order]
        losses.append(ranked_pair_losses(torch.stack(rewards)[None]).mean())
    expected_loss = torch.stack(losses).mean()
    expected_loss.backward()
    expected = torch.cat([p.grad.flatten() for p in training.trained.values() if p.grad is not None])
    assert result.loss == pytest.approx(expected_loss.item(), rel=1e-10)
    assert (found - expected).norm() / expected.norm() < 1e-6, "llama norms in float32"


def test_batches_count_prompts(inputs: dict[str, str], tmp_path: Path) -> None:
    write_rows(tmp_path / "ranked", PAIRS, ranked_rows((4, 2, 3, 5, 2)))
    step = train({**inputs, "data": str(tmp_path / "ranked")}, tmp_path / "a", settings_of())
    facts = read_journal(step.journal_path)["facts"]
    assert facts["examples"] == 5
    assert facts["steps"] == 2
    assert facts["pairs"] == 6 + 1 + 3 + 10 + 1


def test_flips_hang_on_seed_and_row_alone(inputs: dict[str, str]) -> None:
    tokenizer = Tokenizer.load(inputs["tokenizer"])

    def first_wins(seed: int) -> dict[str, float]:
        settings = settings_of(head="pairwise", seed=seed)
        training = prepare_reward_model(settings, inputs["data"], inputs["model"], tokenizer, lambda done: None)
        stream = training.streams["data"]
        return dict(zip(stream.ids, stream.columns["first_wins"].tolist(), strict=True))

    assert first_wins(0) == first_wins(0) != first_wins(1)
    assert 0 < sum(first_wins(0).values()) < 16


def test_other_data_are_refused_and_nothing_held_out_is_said(inputs: dict[str, str], tmp_path: Path) -> None:
    write_rows(tmp_path / "none", PAIRS, [])
    step = train({**inputs, "heldout": str(tmp_path / "none")}, tmp_path / "a", settings_of(max_steps=1))
    assert "no pairs are held out" in read_journal(step.journal_path)["warnings"][0]
    write_rows(tmp_path / "prompts", PROMPTS, tiny.prompt_rows(3))
    with pytest.raises(ArtifactError, match="pairs/v1"):
        train({**inputs, "data": str(tmp_path / "prompts")}, tmp_path / "b", settings_of())


def test_an_adapter_is_merged_and_the_head_goes_along(inputs: dict[str, str], tmp_path: Path) -> None:
    settings = settings_of(epochs=2, lora=LoraSettings(rank=2), center_coefficient=0.01)
    train(inputs, tmp_path / "a", settings)
    model = RewardModel(tmp_path / "a" / "trained")
    answers = [Answer(row["prompt"], row["chosen"]) for row in tiny.pair_rows(3)]
    assert any(abs(reward) > 1e-4 for reward in model.rewards(answers))
    assert (tmp_path / "a" / "trained" / "adapter" / "adapter_model.safetensors").is_file()


def test_same_seed_same_bytes(inputs: dict[str, str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(inputs, tmp_path / name, settings_of(head="pairwise"))
    first, second = ((tmp_path / name / "trained" / "manifest.json").read_text() for name in ("a", "b"))
    assert first == second


def test_sigmoid() -> None:
    assert sigmoid(2.0) + sigmoid(-2.0) == pytest.approx(1.0)
