"""Run files that start from completions: which rows become which, what has no effect, what is missing."""

import json
from pathlib import Path
from typing import Any

import pytest

from preflow.errors import SettingsError
from preflow.settings.plan import Plan, make_plan
from preflow.settings.runfile import parse_run_file
from preflow_pipelines.runners.again import _input

FILES = ("labelled", "pairs", "scored", "negatives", "forget", "retain", "questions", "prompts")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / f"{name}.jsonl").touch()
    for name in ("model", "base", "kind", "unkind"):
        (tmp_path / name).mkdir()
    return tmp_path


def run_file(method: str, kind: str, **changes: Any) -> dict[str, Any]:
    return {"method": method, "model": "./model", "data": {kind: f"{kind}.jsonl"}, **changes}


def npo(**changes: Any) -> dict[str, Any]:
    return run_file("npo", "forget", **{"retain": {"files": "retain.jsonl"}, **changes})


def section(plan: Plan, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan.sections[name])
    return found


@pytest.mark.parametrize(
    ("method", "kind", "imported_as", "to"),
    [
        ("kto", "labelled", "labelled", None),
        ("kto", "pairs", "pairs", "labelled"),
        ("kto", "scored", "scored", "labelled"),
        ("dro", "scored", "scored", None),
        ("d2o", "negatives", "negatives", None),
        ("d2o", "pairs", "pairs", "negatives"),
        ("npo", "forget", "sft", None),
    ],
)
def test_what_a_row_is_and_what_it_becomes(
    method: str, kind: str, imported_as: str, to: str | None, folder: Path
) -> None:
    content = npo() if kind == "forget" else run_file(method, kind)
    plan = make_plan(parse_run_file(content), folder)
    assert section(plan, "data")["kind"] == imported_as
    assert (section(plan, "convert")["to"] if "convert" in plan.sections else None) == to


def test_pairs_are_imported_as_for_every_other_method(folder: Path) -> None:
    """So the step is shared: only the conversion is kto's own."""
    sections = [make_plan(parse_run_file(run_file(method, "pairs")), folder).sections for method in ("kto", "dpo")]
    assert sections[0]["data"] == sections[1]["data"] and sections[0]["reference"] == sections[1]["reference"]


REFUSED = [
    (run_file("kto", "labelled", convert={"seed": 1}), "'convert' has no effect for kto from labelled"),
    (run_file("kto", "pairs", convert={"threshold": 0.5}), "convert.threshold has no effect: the rows are pairs"),
    (run_file("kto", "labelled") | {"data": {"labelled": "a", "duplicates": "aggregate"}}, "use stop or keep"),
    (run_file("kto", "labelled", train={"value_learning_rate": 1}), "loss kto takes no value network"),
    (run_file("kto", "labelled", reference={"helpful": "m"}), "loss kto takes no samples"),
    (run_file("kto", "forget"), "kto starts from labelled or pairs or scored"),
    (run_file("dro", "pairs"), "dro starts from scored"),
    (
        run_file("d2o", "negatives", rounds={"prompts": "all"}),
        "rounds.prompts has no effect: every row needs its samples",
    ),
    (run_file("d2o", "negatives", rounds={"reference": "start"}), "rounds.reference has no effect: reference.helpful"),
    (run_file("npo", "forget"), "loss.retain is nll, which needs rows to retain"),
    (npo(loss={"retain": "none"}), "'retain' has no effect: loss.retain is none"),
    (npo(loss={"name": "gradient_ascent"}, reference={"dtype": "bfloat16"}), "reference.dtype has no effect"),
    (npo(unlearning={}), "unlearning.forget: missing"),
    (npo(unlearning={"forget": "a", "retain_model": {}}), "retain_model.model: missing"),
    (run_file("sdpo", "pairs", stages={"count": 1}), "greater than or equal to 2"),
    (run_file("dpo", "pairs", unlearning={"forget": "a"}), "'unlearning' has no effect for dpo"),
]


@pytest.mark.parametrize(("content", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused_with_the_fix(content: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_run_file(content)


def test_what_is_forgotten_is_not_retained(folder: Path) -> None:
    with pytest.raises(SettingsError, match="forget.jsonl: is to be forgotten and retained"):
        make_plan(parse_run_file(npo(retain={"files": "./forget.jsonl"})), folder)


def test_a_value_network_has_a_rate_of_its_own(folder: Path) -> None:
    for given, expected in (({}, 1e-4), ({"learning_rate": 2e-5}, 2e-5), ({"value_learning_rate": 3e-3}, 3e-3)):
        plan = make_plan(parse_run_file(run_file("dro", "scored", train=given)), folder)
        assert section(plan, "train")["value_learning_rate"] == expected
        assert section(plan, "train")["standardise_scores"] is True
        assert section(plan, "evaluate")["beta"] == 1.0


def test_unlearning_brings_its_questions_and_a_base_model(folder: Path) -> None:
    unlearning = {"forget": "questions.jsonl", "world_facts": "questions.jsonl", "retain_model": {"model": "./base"}}
    plan = make_plan(parse_run_file(npo(unlearning=unlearning, loss={"retain": "none"})), folder)
    assert section(plan, "unlearning_forget_data")["kind"] == "questions"
    assert "unlearning_retain_data" not in plan.sections
    assert plan.inputs["unlearning_world_facts_files"].source["heldout"] == [str(folder / "questions.jsonl")]
    assert plan.inputs["base_model"].source == str(folder / "base")
    oracle = section(plan, "retain_model")
    assert oracle["objective"][0]["loss"] == "preflow.losses.likelihood:nll"
    assert (oracle["epochs"], oracle["learning_rate"], oracle["beta_equivalent"]) == (5, 1e-5, None)


def test_two_references_are_models_of_their_own(folder: Path) -> None:
    given = {"helpful": "./kind", "harmful": "./unkind", "dtype": "bfloat16"}
    plan = make_plan(parse_run_file(run_file("d2o", "negatives", reference=given, rounds={"count": 3})), folder)
    assert plan.inputs["helpful_model"].kind == plan.inputs["harmful_model"].kind == "model"
    assert section(plan, "reference") == {"dtype": "bfloat16", "micro_batch_tokens": 4096}
    assert [section(plan, f"generate_{turn}")["shards"] for turn in range(3)] == [1, 1, 1]
    assert section(plan, "generate_0")["candidates_per_prompt"] == 11
    assert section(plan, "train")["objective"][0]["coupled"] is True
    for name, spec in plan.inputs.items():
        assert _input(name, spec.source, {}).kind == spec.kind or spec.kind == "tokenizer"


def test_stages_and_their_control(folder: Path) -> None:
    plan = make_plan(parse_run_file(run_file("sdpo", "pairs", stages={"count": 4}, loss={"beta": 0.2})), folder)
    assert [section(plan, f"stage_{index}")["index"] for index in range(4)] == [0, 1, 2, 3]
    assert section(plan, "train")["objective"][0]["arguments"]["beta"] == 0.2
    assert section(plan, "train_control")["objective"][0]["arguments"]["beta"] == pytest.approx(0.05)
    assert section(plan, "train_control")["beta_equivalent"] == pytest.approx(0.05)
    without = make_plan(parse_run_file(run_file("sdpo", "pairs", stages={"control": False})), folder)
    assert "train_control" not in without.sections
