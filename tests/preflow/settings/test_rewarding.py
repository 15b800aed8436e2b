"""Run files with reward models, scorers by kind and reinforcement learning: what contradicts itself, what each step receives."""

import json
from pathlib import Path
from typing import Any

import pytest

from preflow.errors import SettingsError
from preflow.methods.catalogue import catalogue
from preflow.settings.plan import Plan, make_plan
from preflow.settings.runfile import RunFile, parse_run_file

FILES = ("pairs.jsonl", "prompts.jsonl", "human_pairs.jsonl", "answers.jsonl", "my_scorers.py")
HUMAN: dict[str, Any] = {"data": {"files": "human_pairs.jsonl"}}
PROMPTS: dict[str, Any] = {"prompts": "prompts.jsonl"}
FUNCTION = {"scorer": "my_scorers.py:good"}


def run_file(method: str = "rlhf", **changes: Any) -> dict[str, Any]:
    base = {"method": method, "model": "./model", "data": {"pairs": "pairs.jsonl"}, "reward_model": {}}
    return {name: value for name, value in (base | changes).items() if value is not None}


def plan(folder: Path, *arguments: Any, **changes: Any) -> Plan:
    for name in FILES:
        (folder / name).touch()
    (folder / "model").mkdir(exist_ok=True)
    return make_plan(parse_run_file(run_file(*arguments, **changes)), folder)


REFUSED = [
    (run_file(reward_model=None), "Add `reward_model: {}`, or name another scorer"),
    (run_file(reward_model=None, data=PROMPTS), r"Add `reward_model: \{data: \{files"),
    (run_file(data=PROMPTS), "reward_model.data: missing"),
    (run_file(score=FUNCTION), "`reward_model` has no effect"),
    (run_file(reward_model={"head": "pairwise"}), "Set head: scalar"),
    (run_file(rl={"algorithm": "rloo", "samples_per_prompt": 1}), "rl.samples_per_prompt is 1"),
    (run_file(rl={"algorithm": "rloo", "whiten": False}), "rl.whiten has no effect: rloo has no value network"),
    (run_file(rl={"token_mean": "batch"}), "rl.token_mean has no effect"),
    (run_file(rl={"kl_gain": 0.2}), "rl.kl_gain has no effect: there is no kl_target"),
    (run_file(loss={"beta": 0.1}), "'loss' has no effect for rlhf"),
    (run_file(reward_model=None, score={"scorer": "verifiable"}), "which have no answers"),
    (run_file(score={"scorer": "reward_model", "batch_size": 8}), "score.batch_size has no effect"),
    (run_file(reward_model=None, score={**FUNCTION, "dtype": "bfloat16"}), "score.dtype has no effect"),
    (run_file("slic"), "`reward_model` has no effect"),
    (run_file("slic", reward_model=None, generate={}), "'generate' has no effect for slic from pairs"),
    (run_file("slic", reward_model=None, score=FUNCTION), "'score' has no effect for slic from pairs"),
    (run_file("slic", reward_model=None, data=PROMPTS), "found none of the sections score and judge"),
    (
        run_file("slic", reward_model=None, targets={"files": "answers.jsonl"}),
        "`targets` has no effect: the loss does not look at it",
    ),
    (
        run_file("slic", reward_model=None, loss={"regularization": 0.1, "target": "targets"}),
        "there is no section `targets`",
    ),
    (run_file("slic", reward_model=None, loss={"target": "best"}), "loss.target has no effect"),
    (
        run_file("rso", data=PROMPTS, score={"scorer": "reward_model"}, reward_model={**HUMAN, "head": "pairwise", "center_coefficient": 0.1}),
        "reward_model.center_coefficient has no effect",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused_with_the_fix(content: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_run_file(content)


def test_a_reward_models_step_receives_its_objective_and_no_files(tmp_path: Path) -> None:
    found = plan(tmp_path, data=PROMPTS, reward_model={**HUMAN, "center_coefficient": 0.01})
    section = json.loads(found.sections["reward_model"])
    assert section["head"] == "scalar"
    assert section["beta_equivalent"] is None
    (term,) = section["objective"]
    assert (term["loss"], term["arguments"]) == ("preflow.losses.reward_model:bradley_terry", {"center": 0.01})
    assert "human_pairs" not in found.sections["reward_model"], "names of files are in no cache key"
    own = json.loads(found.sections["reward_model_data"])
    assert (own["kind"], own["heldout_fraction"]) == ("pairs", 0.1), "its accuracy is measured on what is held out"
    assert set(found.inputs) == {"model", "tokenizer", "data_files", "judge", "reward_model_files"}


def test_a_pairwise_head_has_the_rankers_loss(tmp_path: Path) -> None:
    found = plan(
        tmp_path, "rso", data=PROMPTS, score={"scorer": "reward_model"}, reward_model={**HUMAN, "head": "pairwise"}
    )
    (term,) = json.loads(found.sections["reward_model"])["objective"]
    assert (term["loss"], term["roles"]) == ("preflow.losses.reward_model:ranking", {"comparison": "comparison"})
    score = json.loads(found.sections["score"])
    assert (score["unit"], score["module"]) == ("log_odds", "preflow.models.scoring.reward_model")
    assert "scorer" not in found.inputs


def test_reinforcement_learning_receives_its_scorer(tmp_path: Path) -> None:
    own = json.loads(plan(tmp_path).sections["rl"])
    assert own["score"]["module"] == "preflow.models.scoring.reward_model"
    found = plan(tmp_path, reward_model=None, data=PROMPTS, score=FUNCTION, rl={"algorithm": "grpo"})
    section = json.loads(found.sections["rl"])
    assert (section["score"]["module"], section["score"]["function"]) == ("preflow.models.scoring.function", "good")
    assert found.inputs["scorer"].source.endswith("my_scorers.py:good")
    assert "score" not in found.sections, "the step scores by itself"
    assert json.loads(found.sections["evaluate"])["beta"] == section["beta"]
    verified = plan(tmp_path, reward_model=None, data=PROMPTS, score={"scorer": "verifiable"})
    assert verified.inputs["scorer"].source is None


def test_a_scorers_settings_are_those_that_it_reads(tmp_path: Path) -> None:
    """The run file's seed and dtype change no cache key of a scorer that reads neither."""
    sections = [
        plan(tmp_path, "rso", data=PROMPTS, reward_model=None, score=FUNCTION, seed=seed, dtype=dtype).sections["score"]
        for seed, dtype in ((0, "float32"), (5, "bfloat16"))
    ]
    assert sections[0] == sections[1]


@pytest.mark.parametrize(
    ("method", "preset"), [(page.name, name) for page in catalogue().values() for name in page.presets]
)
def test_presets_are_run_files(method: str, preset: str, tmp_path: Path) -> None:
    content = {"method": method, "model": "./model", **catalogue()[method].presets[preset]}
    assert isinstance(parse_run_file(content), RunFile)


def test_held_out_prompts_are_not_learned_by_heart(tmp_path: Path) -> None:
    """Demonstrations and targets are split as the data are; where evaluation has files of its own, all are trained on."""
    more = {
        "reward_model": None,
        "loss": {"regularization": 0.1, "target": "targets"},
        "targets": {"files": "answers.jsonl"},
    }
    data = {"pairs": "pairs.jsonl", "heldout_fraction": 0.25}
    sections = plan(tmp_path, "slic", **more, data=data).sections
    assert json.loads(sections["targets_data"])["heldout_fraction"] == 0.25
    sections = plan(tmp_path, sft={"data": {"files": "answers.jsonl"}}, data=data).sections
    assert json.loads(sections["sft_data"])["heldout_fraction"] == 0.25
    sections = plan(tmp_path, "slic", **more, evaluate={"prompts": "prompts.jsonl"}).sections
    assert json.loads(sections["targets_data"])["heldout_fraction"] == 0.0
    for change in ({"sft": {"data": {"files": "answers.jsonl", "heldout_fraction": 0.5}}},):
        with pytest.raises(
            SettingsError, match=r"sft.data.heldout_fraction has no effect: these rows are split as the data"
        ):
            plan(tmp_path, **change)
