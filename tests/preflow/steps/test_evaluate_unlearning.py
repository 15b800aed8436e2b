"""TOFU's metrics as a step: of a model against itself, against one that knows, and against one that never saw the rows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import completion_rows
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.evaluation.questions import read_questions
from preflow.evaluation.unlearning import UTILITY_PARTS, model_utility, rouge_l_recalls
from preflow.models.load import load_model
from preflow.settings.train import Term, TrainSettings
from preflow.settings.unlearning import UnlearningOptions
from preflow.steps.evaluate_unlearning import step as unlearning_step
from preflow.steps.kit import Step
from preflow.steps.sft import step as sft_step
from preflow.text.tokenizer import Tokenizer
from preflow.tracking.journal import latest, read_journal

SETS = ("forget", "retain", "real_authors", "world_facts")
NLL = Term(roles={"target": "completion"}, loss="preflow.losses.likelihood:nll", reduction="token_mean")


@dataclass
class Result:
    numbers: dict[str, float]
    answers: list[dict[str, Any]]
    warnings: list[str]


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_tokenizer: Path) -> Path:
    """The tiny model, fine-tuned until it knows the forget answers by heart."""
    folder = tmp_path_factory.mktemp("knowing")
    rows = [row for row in completion_rows.questions(6) if row["source"] == "answer"]
    write_rows(folder / "data", COMPLETIONS, rows)
    settings = TrainSettings(objective=(NLL,), learning_rate=1e-2, batch_size=6, epochs=60, beta_equivalent=None)
    step = Step.detached(folder, settings.canonical(), "sft")
    paths = {"model": str(tiny_model), "tokenizer": str(tiny_tokenizer)}
    sft_step.run(step, data=str(folder / "data"), trained=str(folder / "trained"), **paths)
    return folder / "trained"


@pytest.fixture
def measure(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> Callable[..., Result]:
    """Runs the step; by default the policy is the start model, and all four sets of questions are there."""

    def run(
        sets: dict[str, Any] | None = None, policy: Path = tiny_model, retained: Path | None = None, **more: Any
    ) -> Result:
        rows = (
            {name: list(completion_rows.questions(6, seed)) for seed, name in enumerate(SETS)} if sets is None else sets
        )
        paths = {"policy": policy, "reference": tiny_model, "tokenizer": tiny_tokenizer}
        for name, each in rows.items():
            write_rows(tmp_path / name, COMPLETIONS, each)
            paths[name] = tmp_path / name
        if retained:
            paths["retained"] = retained
        settings = UnlearningOptions(**{"max_new_tokens": 12, "micro_batch_tokens": 512, **more})
        step = Step.detached(tmp_path, settings.canonical(), "evaluate_unlearning")
        outputs = {name: str(tmp_path / name) for name in ("answers", "numbers")}
        unlearning_step.run(step, **{name: str(path) for name, path in paths.items()}, **outputs)
        step.write_journal({})
        journal = read_journal(step.journal_path)
        numbers = json.loads((tmp_path / "numbers").read_text())
        assert latest(journal) == pytest.approx({n: v for n, v in numbers.items() if n.startswith("eval/")})
        return Result(numbers, list(read_rows(tmp_path / "answers", COMPLETIONS)), journal["warnings"])

    return run


def test_a_model_against_itself(measure: Callable[..., Result], tiny_model: Path) -> None:
    found = measure(retained=tiny_model)
    numbers = found.numbers
    for name in ("forget_quality", "forget_probability", "forget_rouge", "model_utility", "retain_truth_ratio"):
        assert numbers[f"eval/{name}"] == numbers[f"eval/baseline_{name}"]
    assert (numbers["eval/forget_quality"], numbers["eval/forget_ks_statistic"]) == (1.0, 0.0)
    parts = [numbers[f"eval/{part}"] for part in UTILITY_PARTS]
    assert numbers["eval/model_utility"] == pytest.approx(model_utility(parts))
    assert numbers["forget_questions"] == 6
    assert found.warnings == ["forget quality comes from 6 questions: a high p-value is cheap with so few."]


def test_log_probs_are_the_models_own(measure: Callable[..., Result], tiny_model: Path, tiny_tokenizer: Path) -> None:
    """The probability of the answers, one by one through the plain model."""
    numbers = measure().numbers
    model, tokenizer = load_model(tiny_model), Tokenizer.load(tiny_tokenizer)
    found = []
    for row in completion_rows.questions(6):
        if row["source"] == "answer":
            prompt, answer = tokenizer.encode_prompts([row["prompt"]])[0], tokenizer.encode_completion(row["text"])
            with torch.no_grad():
                rows = model(torch.tensor([prompt + answer])).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
            found.append(float(rows.gather(-1, torch.tensor(answer)[:, None]).mean().exp()))
    assert numbers["eval/forget_probability"] == pytest.approx(np.mean(found), rel=1e-4)


def test_what_was_learned_is_seen_and_told_from_what_was_not(
    measure: Callable[..., Result], knowing: Path, tiny_model: Path
) -> None:
    """The policy knows the forget answers; the retain model (the start model here) does not."""
    found = measure(policy=knowing, retained=tiny_model)
    numbers = found.numbers
    assert numbers["eval/forget_probability"] > 0.8 > 0.1 > numbers["eval/baseline_forget_probability"]
    assert numbers["eval/forget_rouge"] > 0.8 > numbers["eval/baseline_forget_rouge"]
    assert numbers["eval/forget_quality"] < numbers["eval/baseline_forget_quality"] == 1.0
    rows = [row for row in found.answers if (row["source"], row["flags"]) == ("policy", ["forget"])]
    answers = {row["prompt_id"]: row["text"] for row in completion_rows.questions(6) if row["source"] == "answer"}
    assert [row["score"] for row in rows] == rouge_l_recalls(
        [r["text"] for r in rows], [answers[r["prompt_id"]] for r in rows]
    )
    assert np.mean([row["score"] for row in rows]) == pytest.approx(numbers["eval/forget_rouge"])
    assert len(found.answers) == 2 * 4 * 6 == len({row["completion_id"] for row in found.answers})


def test_without_a_retain_model_there_is_no_quality(measure: Callable[..., Result]) -> None:
    found = measure({"forget": completion_rows.questions(4)})
    assert "eval/forget_quality" not in found.numbers and "eval/model_utility" not in found.numbers
    assert ["Name unlearning.retain_model" in text for text in found.warnings] == [True]


def test_questions_without_wrong_answers_have_what_they_can(measure: Callable[..., Result], tiny_model: Path) -> None:
    plain = {"forget": completion_rows.questions(4, wrong=0, paraphrased=False), "world_facts": completion_rows.questions(4, 2, wrong=0)}  # fmt: skip
    found = measure(plain, retained=tiny_model)
    assert {"eval/forget_probability", "eval/forget_rouge", "eval/world_facts_rouge"} <= found.numbers.keys()
    assert not {"eval/forget_truth_ratio", "eval/world_facts_probability", "eval/forget_quality"} & found.numbers.keys()
    assert any("have no wrong answers" in text for text in found.warnings)


def test_the_paraphrase_is_the_answer_where_there_is_none(measure: Callable[..., Result]) -> None:
    """As for TOFU's real authors and world facts."""
    rows = [row for row in completion_rows.questions(4) if row["source"] != "paraphrased"]
    without = measure({"forget": rows}).numbers["eval/forget_truth_ratio"]
    again = [{**row, "source": "paraphrased", "completion_id": f"p{n}"} for n, row in enumerate(rows) if row["source"] == "answer"]  # fmt: skip
    assert measure({"forget": rows + again}).numbers["eval/forget_truth_ratio"] == pytest.approx(without)


def test_the_first_questions_by_hash(measure: Callable[..., Result], tmp_path: Path) -> None:
    found = measure({"forget": completion_rows.questions(6)}, max_questions=2)
    prompts = sorted({row["prompt_id"] for row in completion_rows.questions(6)})
    assert sorted({row["prompt_id"] for row in found.answers}) == prompts[:2]


def test_a_question_that_stands_twice(tmp_path: Path) -> None:
    rows = list(completion_rows.questions(2))
    other = rows[0] | {"completion_id": "other", "text": "another answer"}
    write_rows(tmp_path / "questions", COMPLETIONS, [*rows, other])
    questions, again = read_questions(str(tmp_path / "questions"), None)
    assert again == 1 and [each.answer for each in questions if each.prompt_id == rows[0]["prompt_id"]] == [
        rows[0]["text"]
    ]


def test_arithmetic_mean_of_wrong_answers(measure: Callable[..., Result]) -> None:
    """R = mean P(wrong) / P(right) is at least the geometric one, so less of the model is forgotten or more of it true."""
    rows = {"retain": list(completion_rows.questions(6)), "forget": list(completion_rows.questions(6))}
    arithmetic, geometric = (measure(rows, truth_ratio=name).numbers for name in ("arithmetic", "geometric"))
    assert arithmetic["eval/retain_truth_ratio"] <= geometric["eval/retain_truth_ratio"]
