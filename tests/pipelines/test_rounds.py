"""Graphs with rounds: what is connected with what, for every way in which rounds can be asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from candidate_rows import BIASED_CIRCLE
from preflow.artifacts.digests import DigestIndex
from preflow.models.judges import MatrixJudge
from preflow.settings.plan import InputSpec, make_plan
from preflow.settings.runfile import parse_run_file
from preflow.tracking.lineage import final_task, training_tasks
from preflow_pipelines.compile import pipeline_spec
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.runners.binding import identify
from preflow_pipelines.runners.inputs import InputStore, StagedInput
from preflow_pipelines.runners.tasks import Task, tasks_of


@pytest.fixture
def graph(tmp_path: Path) -> Any:
    """A function that compiles a run file: (tasks by name, the spec)."""
    for name in ("prompts.jsonl", "judges.py", "teacher.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()

    def make(method: str, **changes: Any) -> tuple[dict[str, Task], dict[str, Any]]:
        content = {
            "method": method,
            "model": "./model",
            "data": {"prompts": "prompts.jsonl"},
            "judge": {"judge": "judges.py:prefer"},
            "evaluate": {"judge": "judges.py:independent"},
        } | changes
        content = {name: value for name, value in content.items() if value is not None}
        spec, _ = pipeline_spec(make_plan(parse_run_file(content), tmp_path), Hardware())
        return {task.name: task for task in tasks_of(spec)}, spec

    return make


def test_each_round_samples_from_the_last_ones_policy(graph: Any) -> None:
    tasks, spec = graph("sppo")
    trained = ["train-preference", "train-preference-2", "train-preference-3"]
    assert tasks["generate-candidates"].inputs["model"] == ("input", "model")
    for before, turn in zip(trained, ("2", "3"), strict=False):
        for task in (f"generate-candidates-{turn}", f"train-preference-{turn}", f"reference-logps-{turn}"):
            assert tasks[task].inputs["model"] == (before, "trained")
        assert tasks[f"train-preference-{turn}"].inputs["data"] == (f"build-pairs-{turn}", "pairs")
    assert [tasks[f"generate-candidates{end}"].section for end in ("", "-2", "-3")] == [
        "generate_0",
        "generate_1",
        "generate_2",
    ]
    assert final_task(spec) == "select-model-2"
    assert training_tasks(spec, "select-model-2") == trained


def test_held_against_the_start_model(graph: Any) -> None:
    tasks, spec = graph("online_dpo")
    for turn in ("", "-2", "-3"):
        assert tasks[f"reference-logps{turn}"].inputs["model"] == ("input", "model")
    assert "select-model" not in tasks
    assert final_task(spec) == "train-preference-3"
    previous, _ = graph("online_dpo", rounds={"reference": "previous"})
    assert previous["reference-logps-2"].inputs["model"] == ("train-preference", "trained")


def test_the_best_round_is_folded(graph: Any) -> None:
    tasks, _ = graph("spo")
    assert not any(name.startswith("reference-logps") for name in tasks)
    assert tasks["select-model"].inputs["first"] == ("train-preference", "trained")
    assert tasks["select-model"].inputs["second"] == ("train-preference-2", "trained")
    assert tasks["select-model-2"].inputs["first"] == ("select-model", "trained")
    assert tasks["select-model-2"].inputs["first_numbers"] == ("select-model", "numbers")
    last = next(task for task in tasks.values() if task.step == "evaluate" and task.section == "evaluate")
    assert last.inputs["policy"] == ("select-model-2", "trained")
    assert tasks["report"].inputs["train_journal"] == ("select-model-2", "train_journal")
    assert sum(task.section == "evaluate_round" for task in tasks.values()) == 3


def test_a_single_round_has_nothing_to_select(graph: Any) -> None:
    tasks, spec = graph("sppo", rounds={"count": 1})
    assert len([name for name in tasks if name.startswith(("select", "train", "evaluate"))]) == 2
    assert (final_task(spec), training_tasks(spec, "train-preference")) == ("train-preference", ["train-preference"])


def test_history_is_one_artifact_per_round(graph: Any) -> None:
    tasks, _ = graph("dno")
    assert tasks["train-preference"].inputs["data"] == ("build-pairs", "pairs")
    assert tasks["merge-history"].inputs == {"pairs": ("build-pairs-2", "pairs"), "earlier": ("build-pairs", "pairs")}
    assert tasks["merge-history-2"].inputs["earlier"] == ("merge-history", "history")
    assert tasks["train-preference-3"].inputs["data"] == ("merge-history-2", "merged")
    assert tasks["reference-logps-3"].inputs["data"] == ("merge-history-2", "merged")
    without, _ = graph("dno", rounds={"history_share": 0.0})
    assert not any(name.startswith("merge-history") for name in without)


@pytest.mark.parametrize("judged", [True, False])
def test_a_teachers_answers_are_candidates(graph: Any, judged: bool) -> None:
    other = {} if judged else {"judge": None, "score": {"scorer": "judges.py:good"}}
    tasks, _ = graph("dno", teacher={"files": "teacher.jsonl"}, **other)
    teacher = next(task.name for task in tasks.values() if task.section == "teacher_data"), "data"
    compared = "judge-candidates" if judged else "score-candidates"
    for turn in ("", "-2", "-3"):
        assert tasks[compared + turn].inputs["teacher"] == teacher
        assert ("teacher" in tasks[f"build-pairs{turn}"].inputs) is judged, "scored rows have the teacher's among them"
        assert ("judgments" in tasks[f"build-pairs{turn}"].inputs) is judged


def test_a_matrix_is_shipped_by_content(graph: Any, tmp_path: Path) -> None:
    matrix = tmp_path / "hands.json"
    matrix.write_text(json.dumps({"labels": ["rock", "paper", "scissors"], "preferences": BIASED_CIRCLE}))
    store = InputStore(tmp_path / "home", DigestIndex(tmp_path / "digests.json"))
    staged = store.stage(InputSpec("pair_judge", "scorer", str(matrix)))
    assert Path(staged.uri).suffix == ".json"
    assert MatrixJudge.load(staged.uri).preferences == BIASED_CIRCLE
    tasks, _ = graph("sppo", judge={"judge": "hands.json"})
    empty = StagedInput(str(tmp_path / "judges.py"), "")
    inputs = {"pair_judge": staged, "judge": empty}
    assert "judge_candidates" in identify(tasks["judge-candidates"], {"judge": "{}"}, inputs).step
