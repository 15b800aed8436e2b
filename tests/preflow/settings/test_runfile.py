"""Run files: what is refused, with which words, and what a plan holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from preflow.errors import SettingsError
from preflow.settings.plan import make_plan
from preflow.settings.runfile import load_run_file, parse_run_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("pairs.jsonl", "prompts.jsonl", "more.jsonl", "scorers.py"):
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()
    return tmp_path


def dpo(**changes: Any) -> dict[str, Any]:
    return {"method": "dpo", "model": "./model", "data": {"pairs": "pairs.jsonl"}} | changes


def rso(**changes: Any) -> dict[str, Any]:
    base = {
        "method": "rso",
        "model": "./model",
        "data": {"prompts": "prompts.jsonl"},
        "score": {"scorer": "scorers.py:f"},
    }
    return base | changes


REFUSED = [
    ({"model": "m"}, "no `method`"),
    (dpo(method="dpoo"), "Did you mean 'dpo'"),
    (dpo(trian={}), "trian: unknown setting. Did you mean 'train'"),
    (dpo(loss={"betta": 1}), "Did you mean 'beta'"),
    (dpo(loss={"beta": "big"}), "loss.dpo.beta: found 'big'"),
    (dpo(loss={"beta": 0}), "greater than 0"),
    (dpo(loss={"name": "hinj"}), "loss 'hinj' is none of ours, .* Did you mean 'hinge'. Losses that fit: dpo"),
    (dpo(loss={"name": "hinge"}), "does not fit dpo"),
    (dpo(generate={}), "'generate' has no effect for dpo"),
    (dpo(data={"prompts": "prompts.jsonl"}), "dpo starts from pairs"),
    (dpo(data={"pairs": "a", "prompts": "b"}), "exactly one of"),
    (dpo(data={}), "exactly one of"),
    (
        dpo(data={"pairs": "pairs.jsonl", "heldout": "more.jsonl", "heldout_fraction": 0.2}),
        "data.heldout_fraction has no effect",
    ),
    (dpo(evaluate={"pairs": "a", "prompts": "b"}), "not both"),
    (rso(score=None), "needs the section 'score'"),
    (rso(rejection={"num_accepted": 1}), "rejection.num_accepted is 1, expected at least 2"),
    (rso(rejection={"num_accepted": 9}, generate={"candidates_per_prompt": 8}), "nothing would be rejected"),
    (rso(evaluate={"baseline": "chosen"}), "evaluate.baseline is chosen, but the held-out rows are no pairs"),
    (rso(rejection={"rule": "best_of_n", "temperature": 1}), "rejection.temperature has no effect"),
    (rso(pairs={"rule": "best_worst", "seed": 1}), "pairs.seed has no effect"),
    (dpo(evaluate={"samples_per_prompt": 0, "temperature": 1}), "evaluate.temperature has no effect"),
    ({"method": "dpo", "model": "m"}, "data: missing"),
    (dpo(data={"pairs": ""}), "data.pairs.0: found ''"),
    (dpo(model=""), "model: found ''"),
    (dpo(loss="dpo"), r"loss: found 'dpo'; expected settings, as in \{name: value\}. Mend the value"),
    (dpo(data={"pairs": 3}), "data.pairs: found 3; expected a list"),
    (dpo(seed=2**64), "seed: found 18446744073709551616"),
]


@pytest.mark.parametrize(("content", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused_with_the_fix(content: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_run_file(content)


def test_missing_files_are_named(folder: Path) -> None:
    for content, words in [
        (dpo(model="./absent"), "no such folder"),
        (dpo(data={"pairs": "absent-*.jsonl"}), "absent-"),
        (rso(score={"scorer": "absent.py:f"}), "absent.py"),
        (rso(score={"scorer": "scorers.py"}), "FILE.py:FUNCTION"),
        (dpo(text={"template": "absent.jinja"}), "absent.jinja"),
    ]:
        with pytest.raises(SettingsError, match=words):
            make_plan(parse_run_file(content), folder)


def test_a_shared_setting_is_named_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_run_file(rso(dtype="fp16", train={"seed": -1}))
    assert [line.split(":")[1].strip() for line in str(caught.value).splitlines()] == ["train.seed", "dtype"]


def test_folders_and_files_are_told_apart(folder: Path) -> None:
    (folder / "folder.py").mkdir()
    for content, words in [
        (dpo(model="pairs.jsonl"), "a file, expected a folder with config.json"),
        (rso(score={"scorer": "folder.py:f"}), "folder.py: a folder, expected a file"),
        (dpo(text={"template": "."}), "a folder, expected a file"),
        (dpo(data={"pairs": "~nobody-of-that-name/pairs.jsonl"}), "no such file"),
        (dpo(data={"pairs": "x" * 5000}), "no such file"),
    ]:
        with pytest.raises(SettingsError, match=words):
            make_plan(parse_run_file(content), folder)


def test_globs_start_at_a_folder_whatever_its_name(folder: Path) -> None:
    inside = folder / "run [1]*"
    inside.mkdir()
    (inside / "a.jsonl").touch()
    plan = make_plan(parse_run_file(dpo(model="../model", data={"pairs": "*.jsonl"})), inside)
    assert plan.inputs["data_files"].source["train"] == [str(inside / "a.jsonl")]


def test_files_behind_any_uri_are_left_to_the_input_store(folder: Path) -> None:
    places = ["s3://bucket/a.jsonl", "gs://bucket/b.jsonl", "https://host/c.jsonl"]
    plan = make_plan(parse_run_file(dpo(data={"pairs": places})), folder)
    assert plan.inputs["data_files"].source["train"] == places


def test_yaml_may_be_merged(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("method: dpo\nmodel: m\ndata:\n  <<: {pairs: p, duplicates: keep}\n  duplicates: aggregate\n")
    assert load_run_file(path).data.duplicates == "aggregate"


def test_yaml_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    for text, words in [
        ("a: [", "line"),
        ("method: dpo\nmethod: rso\n", "stands twice"),
        ("- 1", "expected settings"),
        ("seed: 2024-13-45", "month must be in 1..12"),
        ("seed: !!int foo", "invalid literal"),
        ("seed: 0b_", "not valid YAML"),
        ("{" * 2000, "not valid YAML"),
        ("[1, 2]: x", "not valid YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(SettingsError, match=words):
            load_run_file(path)
    with pytest.raises(SettingsError, match="preflow init"):
        load_run_file(tmp_path / "absent.yaml")


def test_null_is_as_if_it_were_not_there() -> None:
    assert parse_run_file(dpo(evaluate=None, seed=None, sft=None)) == parse_run_file(dpo())
    with pytest.raises(SettingsError, match="needs the section 'score'"):
        parse_run_file(rso(score=None))


def test_overrides_seed_and_method_defaults(folder: Path) -> None:
    run = parse_run_file(rso(seed=3, generate={"seed": 5}), ("loss.beta=2e-1", "train.lora.rank=4", "dtype=bfloat16"))
    assert (run.loss.beta, run.train.lora.rank) == (0.2, 4)
    assert (run.generate.seed, run.rejection.seed, run.train.seed, run.evaluate.seed) == (5, 3, 3, 3)
    assert {run.generate.dtype, run.reference.dtype, run.train.dtype, run.evaluate.dtype} == {"bfloat16"}
    assert (run.loss.name, run.train.batch_size) == ("sigmoid_norm", 32)


def test_a_plan_is_canonical(folder: Path) -> None:
    plan = make_plan(parse_run_file(rso(rejection={"temperature": 1}, evaluate={"judge": "scorers.py:f"})), folder)
    assert set(plan.sections) == {"data", "generate", "score", "rejection", "pairs", "reference", "train", "evaluate"}
    assert '"temperature":1.0' in plan.sections["rejection"]
    assert json.loads(plan.sections["train"])["objective"][0]["loss"] == "preflow.losses.rso:sigmoid_norm"
    assert json.loads(plan.sections["evaluate"])["judge_is_scorer"] is True
    assert plan.inputs["data_files"].source == {"train": [str(folder / "prompts.jsonl")], "heldout": []}


def test_own_evaluation_files_get_their_own_import(folder: Path) -> None:
    plan = make_plan(parse_run_file(rso(evaluate={"pairs": "pairs.jsonl"})), folder)
    assert json.loads(plan.sections["evaluation_data"])["kind"] == "pairs"
    assert plan.inputs["evaluation_files"].source["heldout"] == [str(folder / "pairs.jsonl")]


def test_globs_are_sorted_and_unique(folder: Path) -> None:
    plan = make_plan(parse_run_file(dpo(data={"pairs": ["*.jsonl", "pairs.jsonl"]})), folder)
    names = [Path(path).name for path in plan.inputs["data_files"].source["train"]]
    assert names == ["more.jsonl", "pairs.jsonl", "prompts.jsonl"]


@pytest.mark.parametrize(
    ("judge", "content", "same"),
    [("copy.py:f", "", True), ("copy.py:g", "", False), ("copy.py:f", "# other", False), ("textblob:f", "", False)],
)
def test_a_copy_of_the_scorer_is_still_the_scorer(folder: Path, judge: str, content: str, same: bool) -> None:
    (folder / "copy.py").write_text(content)
    plan = make_plan(parse_run_file(rso(evaluate={"judge": judge})), folder)
    assert json.loads(plan.sections["evaluate"])["judge_is_scorer"] is same
