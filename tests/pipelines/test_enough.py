"""Rows that are not enough of what a run file asks for."""

from typing import Any

import pytest

from preflow.artifacts.ids import prompt_id, shard_of
from preflow.settings.runfile import parse_run_file
from preflow.steps.import_data.facts import Facts
from preflow.steps.import_data.shapes import Record
from preflow_pipelines.enough import lacking

JUDGED = {"judge": {"judge": "j.py:f"}, "evaluate": {"judge": "j.py:g"}}


def facts(count: int, source: str | None = None, score: float | None = None, start: int = 0) -> Facts:
    found = Facts()
    for number in range(start, start + count):
        prompt = [{"role": "user", "content": f"Question {number}?"}]
        found.add(prompt_id(prompt), Record(prompt, {}, source=source, score=score), "train")
    return found


def said(method: str, kind: str, rows: dict[str, Facts], **sections: Any) -> list[str]:
    run = parse_run_file({"method": method, "model": "m", "data": {kind: "f.jsonl"}, **sections})
    return list(lacking(run, rows))


@pytest.mark.parametrize(
    ("method", "kind", "rows", "sections", "words"),
    [
        ("dpo", "pairs", facts(0), {}, "no training rows: all rows are held out. Lower data.heldout_fraction"),
        ("sdpo", "pairs", facts(2), {"stages": {"count": 3}}, "stages.count is 3, but the data have 2 pairs"),
        ("sdpo", "pairs", facts(9, "a"), {"stages": {"by": "source"}}, "but the data have 1 sources"),
        ("sppo", "prompts", facts(2), JUDGED, "rounds.count is 3, but of 2 training prompts none falls into the share"),
        ("dro", "scored", facts(5, score=1.0), {}, "all scores are 1, expected scores that differ"),
    ],
)
def test_too_little(method: str, kind: str, rows: Facts, sections: dict[str, Any], words: str) -> None:
    (found,) = said(method, kind, {"data": rows}, **sections)
    assert words in found


def test_a_teacher_of_other_prompts() -> None:
    sections = JUDGED | {"teacher": {"files": "t.jsonl"}}
    (found,) = said("dno", "prompts", {"data": facts(60), "teacher_data": facts(3, start=90)}, **sections)
    assert "none of its 3 prompts is one of the data's 60 training prompts" in found
    assert not said("dno", "prompts", {"data": facts(60), "teacher_data": facts(3)}, **sections)


def test_enough_is_enough() -> None:
    assert not said("sdpo", "pairs", {"data": facts(3)}, stages={"count": 3})
    assert not said("sppo", "prompts", {"data": facts(60)}, **JUDGED)
    assert not said("dpo", "pairs", {}), "rows that did not pass have their own problems"
    assert {shard_of(prompt, 3) for prompt in facts(60).prompts} == {0, 1, 2}


def test_held_out_prompts_that_are_trained_on() -> None:
    other = Facts()
    for prompt in facts(5, start=8).prompts:
        other.add(prompt, Record([], {}), "heldout")
    assert (other.rows, other.prompts, len(other.heldout)) == (0, set(), 5)
    (found,) = said("dpo", "pairs", {"data": facts(10), "evaluation_data": other}, evaluate={"pairs": "e.jsonl"})
    assert "evaluate: 2 of its prompts are trained on" in found
    assert not said("dpo", "pairs", {"data": facts(8), "evaluation_data": other}, evaluate={"pairs": "e.jsonl"})
