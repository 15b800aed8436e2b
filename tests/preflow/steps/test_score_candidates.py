"""Scoring by a reward model, by a ranker against a baseline, by the prompt's own answer, with a teacher's texts beside."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from candidate_rows import Table, facts_of
from preflow.artifacts.code import code_digest, step_roots
from preflow.artifacts.ids import completion_id
from preflow.artifacts.io import read_rows, read_stamp, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS
from preflow.errors import ArtifactError, ModelError, ScorerError
from preflow.models.reward_model import Answer, RewardModel, sigmoid
from preflow.models.rewards import HEAD_FILE
from preflow.selection.pointwise import order_average, pointwise_reward
from preflow.settings.reward_model import RewardModelOptions, RewardModelSettings
from preflow.settings.score import ScoreSection
from preflow.settings.train import TrainOptions
from preflow.steps.kit import Step
from preflow.steps.score_candidates import step as score_candidates
from preflow.steps.train_reward_model import step as train_reward_model

TEXTS = ["good a cat", "bad a cat", "good the dog sees", "bad the dog", "good"]


@pytest.fixture(scope="module")
def reward_models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_tokenizer: Path) -> dict[str, str]:
    """A scalar and a pairwise one that prefer texts with the word good."""
    folder, found = tmp_path_factory.mktemp("reward models"), {}
    write_rows(folder / "pairs", PAIRS, tiny.pair_rows(16))
    for head in ("scalar", "pairwise"):
        options = RewardModelOptions(head=head, batch_size=4, learning_rate=3e-3, epochs=6, schedule="constant")
        own = {name: getattr(options, name) for name in TrainOptions.model_fields}
        settings = RewardModelSettings(**own, head=head, objective=options.terms(), beta_equivalent=None)
        found[head] = str(folder / head)
        train_reward_model.run(
            Step.detached(folder / f"{head}-step", settings.canonical()),
            data=str(folder / "pairs"),
            model=str(tiny_model),
            tokenizer=str(tiny_tokenizer),
            trained=found[head],
        )
    return found


def score(table: Table, scorer: str, name: str = "reward_model", **given: Any) -> tuple[list[dict[str, Any]], Step]:
    teacher = given.pop("teacher", None)
    settings = ScoreSection(scorer=name, **given).settings()
    step = Step.detached(table.folder, settings.canonical(), "score_candidates")
    score_candidates.run(
        step,
        prompts=table.path("prompts"),
        completions=table.path("completions"),
        scorer=scorer,
        scored=table.path("scored"),
        teacher=teacher,
    )
    return list(read_rows(table.path("scored"), COMPLETIONS)), step


def test_a_scalar_reward_model_gives_log_odds(tmp_path: Path, reward_models: dict[str, str]) -> None:
    table = Table(tmp_path, TEXTS, prompts=3)
    rows, step = score(table, reward_models["scalar"], micro_batch_tokens=64)
    model = RewardModel(reward_models["scalar"])
    prompts = {row["prompt_id"]: row["prompt"] for row in table.prompts}
    for row in rows:
        alone = model.rewards([Answer(prompts[row["prompt_id"]], row["text"])])[0]
        assert row["score"] == pytest.approx(alone, abs=1e-5)
        assert row["unit"] == "log_odds"
        assert row["scorer"] == f"{model.digest[:12]}:scalar"
    assert read_stamp(table.path("scored")).facts["unit"] == "log_odds"
    assert facts_of(step)["score_deviation"] > 0


def test_unfinished_texts_are_read_without_an_end(tmp_path: Path, reward_models: dict[str, str]) -> None:
    found = [
        score(Table(tmp_path / reason, TEXTS, finish_reason=reason), reward_models["scalar"])[0]
        for reason in ("stop", "length")
    ]
    assert all(a["score"] != b["score"] for a, b in zip(*found, strict=True))


def test_a_ranker_scores_against_one_baseline_per_prompt(tmp_path: Path, reward_models: dict[str, str]) -> None:
    """The logit of the order-averaged rho; the baseline itself has 0; the order of rows changes nothing."""
    table = Table(tmp_path, TEXTS, prompts=4)
    rows, _ = score(table, reward_models["pairwise"])
    model = RewardModel(reward_models["pairwise"])
    prompts = {row["prompt_id"]: row["prompt"] for row in table.prompts}
    baselines = set()
    for prompt in prompts:
        own = [row for row in rows if row["prompt_id"] == prompt]
        (baseline,) = [row for row in own if row["score"] == 0]
        baselines.add(baseline["text"])
        for row in own:
            pair = (Answer(prompts[prompt], row["text"]), Answer(prompts[prompt], baseline["text"]))
            there, back = model.first_wins([pair, pair[::-1]])
            expected = pointwise_reward(order_average(sigmoid(there), sigmoid(back)))
            assert row["score"] == pytest.approx(expected, abs=1e-4)
            assert row["unit"] == "log_odds"
    assert len(baselines) > 1, "drawn at random"
    shuffled = list(read_rows(table.path("completions"), COMPLETIONS))[::-1]
    write_rows(table.path("completions"), COMPLETIONS, shuffled)
    again, _ = score(table, reward_models["pairwise"])
    first, second = ({row["completion_id"]: row["score"] for row in each} for each in (rows, again))
    assert first == pytest.approx(second, abs=1e-5)
    other, _ = score(table, reward_models["pairwise"], seed=5)
    assert {row["completion_id"] for row in other if row["score"] == 0} != {
        row["completion_id"] for row in rows if row["score"] == 0
    }


def test_a_reward_that_is_no_number_is_refused(tmp_path: Path, reward_models: dict[str, str]) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for path in Path(reward_models["scalar"]).rglob("*"):
        target = broken / path.relative_to(reward_models["scalar"])
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes())
    head = load_file(broken / HEAD_FILE)
    save_file({name: torch.full_like(value, math.nan) for name, value in head.items()}, broken / HEAD_FILE)
    with pytest.raises(ScorerError, match="Expected a finite number"):
        score(Table(tmp_path, TEXTS), str(broken))


def test_another_folder_is_no_reward_model(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="train_reward_model"):
        score(Table(tmp_path, TEXTS), str(tiny_model))


def test_a_prompts_own_answer_scores(tmp_path: Path) -> None:
    table = Table(tmp_path, ["It costs $12.", "12", "It is 13.", "The answer is 12.0"])
    with pytest.raises(ScorerError, match="has no answer"):
        score(table, "", "verifiable")
    write_rows(table.path("prompts"), PROMPTS, ({**row, "answer": "12"} for row in table.prompts))
    rows, _ = score(table, "", "verifiable", verify={"rule": "numeric"})
    assert [row["score"] for row in rows] == [1, 1, 0, 1]
    assert {row["unit"] for row in rows} == {"raw"}
    exact, _ = score(table, "", "verifiable")
    assert [row["score"] for row in exact] == [0, 1, 0, 0]


def test_a_teachers_answers_are_scored_beside_the_policys(tmp_path: Path) -> None:
    table = Table(tmp_path, TEXTS, prompts=2)
    teacher = [
        {
            "completion_id": completion_id(row["prompt_id"], "a long answer", "teacher"),
            "prompt_id": row["prompt_id"],
            "text": "a long answer",
        }
        for row in table.prompts
    ]
    write_rows(table.path("teacher"), COMPLETIONS, teacher)
    (tmp_path / "scorer.py").write_text("def length(prompts, completions):\n    return [len(c) for c in completions]\n")
    rows, _ = score(table, table.path("scorer.py"), "scorer.py:length", teacher=table.path("teacher"))
    assert len(rows) == 12
    assert [row["score"] for row in rows if row["source"] == "teacher"] == [13, 13]
    with pytest.raises(ArtifactError, match="not among the prompts"):
        write_rows(table.path("prompts"), PROMPTS, table.prompts[:1])
        score(table, table.path("scorer.py"), "scorer.py:length")


def test_a_scorers_code_is_in_the_keys_of_those_who_use_it_alone() -> None:
    """Editing reward models must not score again what a function scored, nor need torch for it."""
    found = {}
    for name in ("scorer.py:f", "reward_model", "verifiable"):
        settings = ScoreSection(scorer=name).settings()
        found[name] = code_digest(step_roots("score_candidates", settings.canonical()))
        assert json.loads(settings.canonical())["module"] in found[name].modules
    assert "torch" not in found["scorer.py:f"].foreign
    assert "preflow.models.reward_model" not in found["scorer.py:f"].modules
    assert "preflow.models.reward_model" in found["reward_model"].modules
    assert "preflow.models.scorers" not in found["verifiable"].modules
