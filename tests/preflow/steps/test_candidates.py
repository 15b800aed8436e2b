"""From prompts to pairs: the four steps in a row, on tiny files."""

import json
from pathlib import Path

import pytest

import tiny
from preflow.artifacts.io import read_rows, read_stamp, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS
from preflow.errors import ArtifactError, DataError, ScorerError
from preflow.settings.generate import GenerateSettings
from preflow.settings.pairs import PairsSettings
from preflow.settings.rejection import RejectionSettings
from preflow.settings.score import ScoreSettings
from preflow.steps.build_pairs import step as build_pairs
from preflow.steps.generate_candidates import step as generate
from preflow.steps.kit import Step
from preflow.steps.rejection_sample import step as reject
from preflow.steps.score_candidates import step as score
from preflow.tracking.journal import read_journal

SCORER = "def score(prompts, completions):\n    return [float(len(text)) for text in completions]\n"


def facts(step: Step) -> dict[str, float]:
    step.write_journal({})
    return dict(read_journal(step.journal_path)["facts"])


@pytest.fixture
def scored(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> Path:
    """Five prompts with six scored samples each."""
    write_rows(tmp_path / "prompts", PROMPTS, tiny.prompt_rows(5))
    settings = GenerateSettings(candidates_per_prompt=6, max_new_tokens=8, temperature=1.0).canonical()
    step = Step.detached(tmp_path / "generate", settings)
    paths = {"prompts": str(tmp_path / "prompts"), "model": str(tiny_model), "tokenizer": str(tiny_tokenizer)}
    generate.run(step, **paths, completions=str(tmp_path / "completions"))
    assert facts(step)["completions"] == 30
    (tmp_path / "scorer.py").write_text(SCORER)
    step = Step.detached(tmp_path / "score", ScoreSettings(batch_size=7).canonical())
    score.run(
        step,
        prompts=paths["prompts"],
        completions=str(tmp_path / "completions"),
        scorer=str(tmp_path / "scorer.py"),
        scored=str(tmp_path / "scored"),
    )
    return tmp_path


def test_samples_carry_what_later_steps_need(scored: Path) -> None:
    rows = list(read_rows(scored / "scored", COMPLETIONS))
    assert len({row["completion_id"] for row in rows}) == 30
    assert sorted({row["sample_index"] for row in rows}) == list(range(6))
    for row in rows:
        assert row["score"] == len(row["text"])
        assert row["token_ids"]
        assert row["finish_reason"] in ("stop", "length")
        assert row["sampler_logp"] < 0
    assert read_stamp(scored / "scored").facts["unit"] == "raw"


@pytest.mark.parametrize("rule", ["statistical", "best_of_n"])
def test_rejection_keeps_k_of_every_prompt(scored: Path, rule: str) -> None:
    step = Step.detached(scored / rule, RejectionSettings(rule=rule, num_accepted=4, temperature=3.0).canonical())
    reject.run(step, scored=str(scored / "scored"), accepted=str(scored / "accepted"))
    rows = list(read_rows(scored / "accepted", COMPLETIONS))
    assert len(rows) == 20
    assert all(row["round"] is not None for row in rows)
    found = facts(step)
    assert found["mean_score_accepted"] > found["mean_score_pool"]


def test_rejection_is_reproducible_whatever_the_order_of_rows(scored: Path) -> None:
    rows = list(read_rows(scored / "scored", COMPLETIONS))
    write_rows(scored / "reversed", COMPLETIONS, rows[::-1])
    found = []
    for name in ("scored", "reversed"):
        step = Step.detached(scored / name, RejectionSettings(num_accepted=3).canonical())
        reject.run(step, scored=str(scored / name), accepted=str(scored / f"{name}-accepted"))
        found.append(
            {row["completion_id"]: row["round"] for row in read_rows(scored / f"{name}-accepted", COMPLETIONS)}
        )
    assert found[0] == found[1]


def test_too_few_candidates_are_all_kept_and_said(scored: Path) -> None:
    step = Step.detached(scored / "few", RejectionSettings(num_accepted=9).canonical())
    reject.run(step, scored=str(scored / "scored"), accepted=str(scored / "accepted"))
    step.write_journal({})
    assert "fewer than 9 candidates" in read_journal(step.journal_path)["warnings"][0]
    assert read_stamp(scored / "accepted").rows == 30


@pytest.mark.parametrize(("rule", "most"), [("first_round", 15), ("best_worst", 5)])
def test_pairs_prefer_the_higher_score(scored: Path, rule: str, most: int) -> None:
    step = Step.detached(scored / rule, PairsSettings(rule=rule).canonical())
    build_pairs.run(
        step,
        prompts=str(scored / "prompts"),
        completions=str(scored / "scored"),
        pairs=str(scored / "pairs"),
        numbers=str(scored / "numbers"),
    )
    rows, numbers = list(read_rows(scored / "pairs", PAIRS)), json.loads((scored / "numbers").read_text())
    assert 0 < len(rows) <= most
    assert len(rows) + numbers.get("ties", 0) + numbers.get("pairs_of_equal_texts", 0) == most
    for row in rows:
        assert row["chosen_score"] > row["rejected_score"]
        assert row["chosen_token_ids"]
        assert row["prompt"]
    used = [row[f"{side}_id"] for row in rows for side in ("chosen", "rejected")]
    assert len(used) == len(set(used)), "disjoint pairs"
    assert numbers["margin_median"] > 0


def test_no_pair_left_is_an_error_with_the_fix(scored: Path) -> None:
    step = Step.detached(scored / "none", PairsSettings(min_margin=1e9).canonical())
    with pytest.raises(DataError, match=r"no pair remains.*pairs\.min_margin"):
        build_pairs.run(
            step,
            prompts=str(scored / "prompts"),
            completions=str(scored / "scored"),
            pairs=str(scored / "p"),
            numbers=str(scored / "n"),
        )
    assert not (scored / "p").exists()


def test_joins_are_by_id(scored: Path) -> None:
    write_rows(scored / "others", PROMPTS, tiny.prompt_rows(2, seed=9))
    step = Step.detached(scored / "x", ScoreSettings().canonical())
    with pytest.raises(ArtifactError, match="not among the prompts"):
        score.run(
            step,
            prompts=str(scored / "others"),
            completions=str(scored / "completions"),
            scorer=str(scored / "scorer.py"),
            scored=str(scored / "s"),
        )
    with pytest.raises(ArtifactError, match="no score"):
        reject.run(
            Step.detached(scored / "y", RejectionSettings().canonical()),
            scored=str(scored / "completions"),
            accepted=str(scored / "a"),
        )
    (scored / "scorer.py").write_text(
        "def score(prompts, completions):\n    return [float('nan')] * len(completions)\n"
    )
    with pytest.raises(ScorerError, match="finite"):
        score.run(
            step,
            prompts=str(scored / "prompts"),
            completions=str(scored / "completions"),
            scorer=str(scored / "scorer.py"),
            scored=str(scored / "s"),
        )
    assert not (scored / "s").exists()
