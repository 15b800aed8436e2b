"""Run files with rounds: what contradicts itself, what has no effect, what each step receives."""

import json
from pathlib import Path
from typing import Any

import pytest

from preflow.errors import SettingsError
from preflow.settings.plan import Plan, make_plan
from preflow.settings.runfile import parse_run_file


def run_file(method: str = "sppo", **changes: Any) -> dict[str, Any]:
    base = {
        "method": method,
        "model": "./model",
        "data": {"prompts": "prompts.jsonl"},
        "judge": {"judge": "judges.py:prefer"},
        "evaluate": {"judge": "judges.py:independent"},
    }
    return {name: value for name, value in (base | changes).items() if value is not None}


def plan(folder: Path, *arguments: Any, **changes: Any) -> Plan:
    for name in ("prompts.jsonl", "judges.py", "teacher.jsonl", "hands.json"):
        (folder / name).touch()
    (folder / "model").mkdir(exist_ok=True)
    return make_plan(parse_run_file(run_file(*arguments, **changes)), folder)


SCORE = {"score": {"scorer": "judges.py:good"}}
REFUSED = [
    (
        run_file(judge=None),
        r"found none of the sections judge and score; sppo takes exactly one. Add one, e.g. judge: {judge",
    ),
    (run_file(**SCORE), "found judge and score of the sections judge and score; sppo takes exactly one. Remove one"),
    (run_file(judge={"judge": "endpoint"}), "`judge: endpoint` and the section `endpoint` go together"),
    (
        run_file("spo", generate={"temperature": 0.7}),
        "generate.temperature is 0.7, but loss ppo_seq weighs samples of the",
    ),
    (run_file("spo", generate={"top_k": 40}), "generate.top_k is 40, but loss ppo_seq .* Set generate.top_k to 0"),
    (
        run_file("spo", generate={"instruction": "Be kind."}),
        "generate.instruction is set, but loss ppo_seq .* Remove it",
    ),
    (
        run_file("spo", generate={"max_new_tokens": 65}, text={"max_completion_tokens": 64}),
        "generate.max_new_tokens is 65, but text.max_completion_tokens is 64: what is sampled would be cut",
    ),
    (
        run_file(loss={"name": "sppo_pair"}, pairs={"labels": "hard"}),
        "pairs.labels is hard, so that every chosen text wins for certain, but loss sppo_pair .* Set pairs.labels to soft",
    ),
    (run_file(pairs={"labels": "soft"}), "pairs.labels has no effect: loss sppo is the same with both sides exchanged"),
    (run_file(train={"warmup_steps": 3, "warmup_ratio": 0.1}), "train.warmup_ratio has no effect: train.warmup_steps"),
    (run_file(generate={"candidates_per_prompt": 1}), "candidates_per_prompt is 1, expected at least 2"),
    (run_file(pairs={"rule": "spo"}), "pairs.rule spo makes completions, but loss sppo takes pairs"),
    (run_file("spo", pairs={"rule": "sppo"}), "pairs.rule sppo makes pairs, but loss ppo_seq takes completions"),
    (run_file(judge={"judge": "a.py:f", "schedule": "tournament"}), "judge.schedule is tournament, which judges only"),
    (run_file(evaluate={}), "rounds.keep is best by eval/win_rate, which needs evaluate.judge. Add it"),
    (
        run_file(rounds={"metric": "eval/win_rat"}),
        "rounds.metric: found 'eval/win_rat'; input should be 'eval/win_rate'",
    ),
    (run_file(rounds={"metric": "eval/reward_margin"}), "which needs held-out pairs"),
    (
        run_file(judge={"judge": "endpoint", "endpoint": {"url": "http://h/v1", "model": "m", "key_variable": "sk-1"}}),
        "key_variable: found 'sk-1'",
    ),
    (
        run_file("spo", rounds={"history_share": 0.3}),
        "rounds.history_share is 0.3, but pairs.rule spo trains on the newest",
    ),
    (run_file(pairs={"seed": 1}), "pairs.seed has no effect: rule sppo does not read it"),
    (run_file(pairs={"min_margin": 0.1}), "pairs.min_margin has no effect"),
    (
        run_file(judge=None, **SCORE, pairs={"rank_by": "win_rate"}),
        "pairs.rank_by has no effect: candidates are compared by",
    ),
    (run_file(judge={"judge": "a.py:f", "seed": 1}), "judge.seed has no effect: all pairs are asked in both orders"),
    (run_file("spo", rounds={"reference": "start"}), "rounds.reference has no effect: loss ppo_seq takes no reference"),
    (run_file("online_dpo", rounds={"metric": "eval/judge_score"}), "rounds.metric has no effect: keep is last"),
    (run_file(rounds={"history_decay": 0.5}), "rounds.history_decay has no effect: history_share is 0"),
    (run_file(rounds={"count": 1, "keep": "best"}), "rounds.keep has no effect: there is one round"),
    (run_file(teacher={"files": "teacher.jsonl"}), "'teacher' has no effect for sppo"),
    (run_file(loss={"name": "ppo_seq"}), "loss 'ppo_seq' does not fit sppo"),
]


@pytest.mark.parametrize(("content", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused_with_the_fix(content: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_run_file(content)


def test_a_section_set_to_null_is_left_out() -> None:
    found = parse_run_file(run_file(**SCORE), ("judge=null",))
    assert found.judge is None
    assert found.score is not None


def test_every_round_has_its_share_and_its_draws(tmp_path: Path) -> None:
    sections = plan(tmp_path, "dno", teacher={"files": "teacher.jsonl"}).sections
    sampled = [json.loads(sections[f"generate_{turn}"]) for turn in range(3)]
    assert [(each["shard"], each["shards"], each["round"]) for each in sampled] == [(0, 3, 0), (1, 3, 1), (2, 3, 2)]
    assert {name for name in sections if name.startswith("history")} == {"history_1", "history_2"}
    assert json.loads(sections["history_2"]) == {"round": 2, "newest_share": 0.3, "decay": 0.5, "seed": 0}
    assert json.loads(sections["select"]) == {"metric": "eval/win_rate"}
    between, last = json.loads(sections["evaluate_round"]), json.loads(sections["evaluate"])
    assert between["seed"] != last["seed"], "the last evaluation is not that of the luckiest round"
    assert between["kl_samples_per_prompt"] == 0
    assert json.loads(sections["teacher_data"])["heldout_fraction"] == 0
    whole = plan(tmp_path, "dno", rounds={"prompts": "all", "keep": "last", "history_share": 0.0}).sections
    assert json.loads(whole["generate_2"])["shards"] == 1
    assert {name for name in whole if name.startswith(("history", "select", "evaluate_"))} == set()


def test_the_judges_place_is_no_setting(tmp_path: Path) -> None:
    """What a step receives does not hang on where the file lies: the file is an input, by content."""
    found = plan(tmp_path)
    assert json.loads(found.sections["judge"])["function"] == "prefer"
    assert str(tmp_path) not in found.sections["judge"]
    assert found.inputs["pair_judge"].source == f"{tmp_path / 'judges.py'}:prefer"
    hands = plan(tmp_path, judge={"judge": "hands.json"})
    assert json.loads(hands.sections["judge"])["kind"] == "matrix"
    assert hands.inputs["pair_judge"].source == str(tmp_path / "hands.json")
    with pytest.raises(SettingsError, match="absent.json"):
        plan(tmp_path, judge={"judge": "absent.json"})
    endpoint = plan(tmp_path, judge={"judge": "endpoint", "endpoint": {"url": "http://host/v1", "model": "m"}})
    assert "pair_judge" not in endpoint.inputs
    assert json.loads(endpoint.sections["judge"])["kind"] == "endpoint"
