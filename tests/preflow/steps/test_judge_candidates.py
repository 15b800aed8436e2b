"""Judging: which questions a schedule asks, what is written of the answers, which judges there are."""

from pathlib import Path

import pytest

import chat_server
import tiny
from candidate_rows import BIASED_CIRCLE, HANDS, Table
from chat_server import ChatServer, says
from preflow.artifacts.io import read_stamp, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS
from preflow.errors import ArtifactError, DataError, ScorerError, SettingsError
from preflow.selection.win_rates import preference_matrix
from preflow.settings.reward_model import RewardModelOptions, RewardModelSettings
from preflow.settings.train import TrainOptions
from preflow.steps.kit import Step
from preflow.steps.train_reward_model import step as train_reward_model

LONGER = "float(len(first) > len(second))"


def test_an_intransitive_judge_is_written_down_as_it_is(tmp_path: Path) -> None:
    table = Table(tmp_path, HANDS, prompts=3)
    rows, facts = table.judge(table.matrix(BIASED_CIRCLE))
    assert len(rows) == 3 * 6 == facts["questions"]
    assert read_stamp(tmp_path / "judgments").facts["schedule"] == "all"
    for prompt in table.prompts:
        own = [row for row in rows if row["prompt_id"] == prompt["prompt_id"]]
        ids = list(dict.fromkeys(sorted({row["first_id"] for row in own})))
        found = preference_matrix(own, ids)
        assert sorted(found.ravel().tolist()) == sorted(value for line in BIASED_CIRCLE for value in line)
    assert (facts["cyclic_triads"], facts["cyclic_share"]) == (3, 1.0)
    assert facts["order_flip_rate"] == 0
    assert {row["judge"] for row in rows} == {"matrix"}


def test_a_taste_for_the_first_place_is_told(tmp_path: Path) -> None:
    table = Table(tmp_path, HANDS)
    _, facts = table.judge(table.function("0.9"))
    assert facts["order_flip_rate"] == 1
    assert facts["first_wins_share"] == pytest.approx(0.9)
    assert facts["cyclic_triads"] == 0, "the mean over both orders is a tie"


def test_one_order_is_drawn_and_does_not_hang_on_places(tmp_path: Path) -> None:
    table = Table(tmp_path, [f"text {n}" for n in range(8)], prompts=4)
    rows, facts = table.judge(table.function("0.5"), both_orders=False)
    assert len(rows) == 4 * 28
    assert "order_flip_rate" not in facts
    again, _ = table.judge(table.function("0.5"), both_orders=False, batch_size=5)
    assert [(row["first_id"], row["second_id"]) for row in again] == [
        (row["first_id"], row["second_id"]) for row in rows
    ]
    ids = {row["first_id"] for row in rows} | {row["second_id"] for row in rows}
    order = {identity: place for place, identity in enumerate(sorted(ids))}
    share = sum(order[row["first_id"]] < order[row["second_id"]] for row in rows) / len(rows)
    assert 0.3 < share < 0.7
    other, _ = table.judge(table.function("0.5"), both_orders=False, seed=1)
    assert [row["first_id"] for row in other] != [row["first_id"] for row in rows]


@pytest.mark.parametrize("candidates", [2, 5, 8])
def test_a_tournament_asks_k_minus_one_matches(tmp_path: Path, candidates: int) -> None:
    table = Table(tmp_path, ["x" * (n + 1) for n in range(candidates)], prompts=3)
    rows, facts = table.judge(table.function(LONGER), schedule="tournament")
    assert len(rows) == 3 * 2 * (candidates - 1) == facts["questions"]
    longest = {
        row[side] for row in rows for side in ("first_id", "second_id") if row["probability"] == (side == "first_id")
    }
    losers = {
        row[side] for row in rows for side in ("first_id", "second_id") if row["probability"] != (side == "first_id")
    }
    assert len(longest - losers) == 3, "one champion per prompt"


def test_versus_baseline_asks_one_candidate_of_each(tmp_path: Path) -> None:
    table = Table(tmp_path, ["a", "bb", "ccc", "dddd"], prompts=5)
    rows, _ = table.judge(table.function(LONGER), schedule="versus_baseline")
    assert len(rows) == 5 * 3 * 2
    baselines = set()
    for prompt in table.prompts:
        pairs = [{row["first_id"], row["second_id"]} for row in rows if row["prompt_id"] == prompt["prompt_id"]]
        (common,) = set.intersection(*pairs)
        baselines.add(common)
    assert len(baselines) == 5


def test_equal_texts_are_not_asked_about(tmp_path: Path) -> None:
    table = Table(tmp_path, ["same", "same", "other"])
    rows, facts = table.judge(table.function("1 / (first != second)"))
    assert sorted(row["probability"] for row in rows) == [0.5, 0.5, 1, 1, 1, 1]
    assert facts["equal_texts"] == 2


def test_a_teachers_answer_is_a_candidate(tmp_path: Path) -> None:
    table = Table(tmp_path, ["a", "bb"], prompts=2)
    teacher = table.write("teacher", ["the teacher's"])
    rows, _ = table.judge(table.function(LONGER), teacher=teacher)
    assert len(rows) == 2 * 6
    twice = table.write("twice", ["one", "two"])
    with pytest.raises(ArtifactError, match=r"two answers to prompt .* Expected one of each"):
        table.judge(table.function(LONGER), teacher=twice)
    other = Table(tmp_path / "other", ["x"])
    other.prompts[0]["prompt_id"] = "0" * 32
    with pytest.raises(ArtifactError, match="answers none of the 2 prompts"):
        table.judge(table.function(LONGER), teacher=other.write("teacher", ["x"]))


def likes_red(question: str) -> chat_server.Behaviour:
    return says("Winner: " + ("A" if "red" in question.partition("<answer_B>")[0] else "B"))


def test_an_endpoints_answers_outlive_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PREFLOW_HOME", str(tmp_path / "home"))
    table = Table(tmp_path, ["red", "blue", "green"])
    with ChatServer(always=likes_red) as server:
        endpoint = {"url": server.url, "model": "tiny"}
        rows, facts = table.judge(None, kind="endpoint", endpoint=endpoint)
        assert (facts["endpoint_asked"], facts["endpoint_kept"], len(server.requests)) == (6, 0, 6)
        _, facts = table.judge(None, kind="endpoint", endpoint=endpoint)
        assert (facts["endpoint_asked"], facts["endpoint_kept"], len(server.requests)) == (0, 6, 6)
    assert len(list((tmp_path / "home" / "answers").glob("*.jsonl"))) == 1
    assert {row["raw"] for row in rows} == {"Winner: A", "Winner: B"}
    assert {row["judge"] for row in rows} == {"tiny"}


@pytest.mark.parametrize("kind", ["function", "matrix", "endpoint", "reward_model"])
def test_a_judge_that_is_missing(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SettingsError, match=rf"judge of kind {kind}: no .* was given. Expected .*run file"):
        Table(tmp_path, HANDS).judge(None, kind=kind)


def test_what_stops_the_step_leaves_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path, HANDS)
    with pytest.raises(ScorerError, match="expected P"):
        table.judge(table.function("2.0"))
    table.write("completions", ["alone"])
    with pytest.raises(DataError, match="nothing to compare.*candidates_per_prompt"):
        table.judge(table.function("1.0"))
    stray = {"completion_id": "c", "prompt_id": "f" * 32, "text": "a", "source": "policy"}
    write_rows(tmp_path / "completions", COMPLETIONS, [stray, stray | {"completion_id": "d", "text": "b"}])
    with pytest.raises(ArtifactError, match="not among the prompts"):
        table.judge(table.function("1.0"))
    assert not (tmp_path / "judgments").exists()


def test_a_trained_reward_model_has_no_taste_for_a_place(
    tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path
) -> None:
    write_rows(tmp_path / "pairs", PAIRS, tiny.pair_rows(8))
    options = RewardModelOptions(batch_size=4, learning_rate=3e-3)
    own = {name: getattr(options, name) for name in TrainOptions.model_fields}
    settings = RewardModelSettings(**own, head="scalar", objective=options.terms(), beta_equivalent=None)
    data = str(tmp_path / "pairs")
    train_reward_model.run(
        Step.detached(tmp_path / "train", settings.canonical(), "train_reward_model"),
        data=data,
        heldout=data,
        model=str(tiny_model),
        tokenizer=str(tiny_tokenizer),
        trained=str(tmp_path / "reward"),
    )
    table = Table(tmp_path, ["good cat", "bad dog", "the film"], prompts=2)
    rows, facts = table.judge(None, kind="reward_model", reward_model=str(tmp_path / "reward"))
    found = {(row["prompt_id"], row["first_id"], row["second_id"]): row["probability"] for row in rows}
    for (prompt, first, second), probability in found.items():
        assert probability + found[prompt, second, first] == pytest.approx(1, abs=1e-6)
    assert (facts["order_flip_rate"], facts["cyclic_triads"]) == (0, 0)
    assert {row["judge"] for row in rows} == {"reward_model"}
