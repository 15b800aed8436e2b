"""Stages: disjoint parts that are the data together, easy ones first, by pairs or by sources."""

import itertools
from pathlib import Path
from typing import Any

import pytest

import tiny
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import PAIRS, SEQUENCE_LOGPS
from preflow.errors import ArtifactError, DataError
from preflow.settings.reference import ReferenceSettings
from preflow.settings.stages import StageSettings
from preflow.steps.kit import Step
from preflow.steps.reference_logps import step as reference_step
from preflow.steps.split_stages import step as split
from preflow.tracking.journal import Journal, read_journal


@pytest.fixture
def given(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> dict[str, str]:
    """Pairs of three sources with the tiny model's log-probs."""
    rows = [row | {"source": "abc"[number % 3]} for number, row in enumerate(tiny.pair_rows(13))]
    write_rows(tmp_path / "pairs", PAIRS, rows)
    paths = {"data": str(tmp_path / "pairs"), "tokenizer": str(tiny_tokenizer)}
    step = Step.detached(tmp_path / "reference", ReferenceSettings(micro_batch_tokens=512).canonical())
    reference_step.run(step, **paths, model=str(tiny_model), logps=str(tmp_path / "logps"))
    return {**paths, "logps": str(tmp_path / "logps")}


def part(given: dict[str, str], folder: Path, **settings: Any) -> tuple[list[dict[str, Any]], Journal]:
    step = Step.detached(folder, StageSettings(**settings).canonical(), "split_stages")
    split.run(step, **given, part=str(folder / "part"))
    step.write_journal({})
    return list(read_rows(folder / "part", PAIRS)), read_journal(step.journal_path)


def margins(given: dict[str, str], tokenizer: Path) -> dict[str, float]:
    """Of every pair, its margin per token, recomputed row by row."""
    from preflow.artifacts.ids import sequence_id
    from preflow.text.tokenizer import Tokenizer

    contract = Tokenizer.load(tokenizer)
    logps = {row["sequence_id"]: row for row in read_rows(given["logps"], SEQUENCE_LOGPS)}
    found = {}
    for row in read_rows(given["data"], PAIRS):
        prompt = contract.encode_prompts([row["prompt"]])[0]
        sides = [logps[sequence_id(prompt, contract.encode_completion(row[side]))] for side in ("chosen", "rejected")]
        per_token = [side["logp"] / side["num_tokens"] for side in sides]
        found[row["pair_id"]] = per_token[0] - per_token[1]
    return found


@pytest.mark.parametrize("count", [2, 3, 13])
def test_by_difficulty(count: int, given: dict[str, str], tiny_tokenizer: Path, tmp_path: Path) -> None:
    easiness = margins(given, tiny_tokenizer)
    parts = []
    for index in range(count):
        rows, journal = part(given, tmp_path / str(index), by="difficulty", index=index, count=count)
        parts.append([easiness[row["pair_id"]] for row in rows])
        assert journal["facts"]["pairs"] == len(rows)
    sizes = [len(each) for each in parts]
    assert sum(sizes) == 13 and max(sizes) - min(sizes) <= 1
    assert sorted(value for each in parts for value in each) == sorted(easiness.values())
    assert all(min(earlier) >= max(later) for earlier, later in itertools.pairwise(parts))


def test_by_source(given: dict[str, str], tmp_path: Path) -> None:
    found: dict[int, set[str]] = {}
    shares = {}
    for index in range(2):
        rows, journal = part(given, tmp_path / str(index), by="source", index=index, count=2)
        found[index] = {row["source"] for row in rows}
        shares[index] = journal["facts"]["ranked_right"]
        assert {name for name, stage in journal["facts"]["sources"].items() if stage == index} == found[index]
    assert found[0] | found[1] == set("abc") and not found[0] & found[1]
    assert (len(found[0]), len(found[1])) == (2, 1), "as many sources in each, the earlier stage taking more"
    assert shares[0] >= shares[1], "easy sources first"


def test_order_of_rows_is_kept_within_a_stage(given: dict[str, str], tmp_path: Path) -> None:
    order = [row["pair_id"] for row in read_rows(given["data"], PAIRS)]
    rows, _ = part(given, tmp_path / "a", index=1, count=2)
    places = [order.index(row["pair_id"]) for row in rows]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"by": "source", "count": 4}, "3 sources, expected at least 4"),
        ({"count": 14}, "13 pairs, expected at least 14"),
    ],
)
def test_too_few_to_cut(settings: dict[str, Any], words: str, given: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        part(given, tmp_path / "a", index=0, **settings)
    assert not (tmp_path / "a" / "part").exists()


def test_log_probs_of_other_pairs_are_refused(given: dict[str, str], tmp_path: Path) -> None:
    write_rows(tmp_path / "others", PAIRS, tiny.pair_rows(3, seed=4))
    with pytest.raises(ArtifactError, match="run reference_logps"):
        part({**given, "data": str(tmp_path / "others")}, tmp_path / "a", index=0, count=2)
