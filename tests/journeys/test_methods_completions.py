"""Methods on completions and stages, from the run file that `preflow init` writes to the page, on a tiny model."""

import math
from pathlib import Path
from typing import Any

import pytest

import tiny
from journey_kit import Desk, executed
from preflow.artifacts.io import read_rows, read_stamp
from preflow.artifacts.kinds import COMPLETIONS, PAIRS
from preflow.artifacts.manifest import read_manifest
from preflow.tracking.journal import read_journal, series

pytestmark = pytest.mark.journey

QUICK = {
    "model": "./model",
    "train.learning_rate": 1e-3,
    "train.batch_size": 6,
    "evaluate.max_new_tokens": 4,
    "evaluate.max_prompts": 4,
}
DATA = {"import-data", "reference-logps"}
ENDS = {"train-preference", "evaluate", "report"}
# What else each starter needs to be quick, its steps, and the loss of its first step, which is known beforehand.
STARTERS: dict[str, tuple[dict[str, Any], set[str], float]] = {
    "kto": ({"data.heldout_fraction": 0.3}, DATA | ENDS, 0.5),
    "dro": ({"train.value_learning_rate": 1e-3, "train.batch_size": 64, "train.epochs": 2}, DATA | ENDS, 1 / 2 + 1 / 2),  # E r^2 (1 / (2 tau) + 1 / 2), r standardised
    "d2o": (
        {"generate.max_new_tokens": 5, "generate.candidates_per_prompt": 3},
        DATA | ENDS | {"generate-candidates"},
        math.log(2),
    ),
    "npo": (
        {"train.epochs": 2, "unlearning.max_new_tokens": 6},
        DATA | ENDS | {"import-data-2", "import-data-3", "import-data-4", "evaluate-unlearning"},
        2 / 0.1 * math.log(2),
    ),
    "sdpo": (
        {},
        DATA
        | ENDS
        | {"split-stages", "split-stages-2", "reference-logps-2", "train-preference-2", "train-preference-3", "evaluate-2"},
        math.log(2),
    ),
}  # fmt: skip
LOSS = {"npo": "train/loss_npo"}  # the retain term's likelihood stands beside it


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with rows of every kind, as people have them."""
    desk = Desk(tmp_path_factory.mktemp("completions") / "desk")
    pairs = [(row["prompt"][0]["content"], row["chosen"], row["rejected"]) for row in tiny.pair_rows(24)]
    answers = [(prompt, chosen if number % 2 else rejected) for number, (prompt, chosen, rejected) in enumerate(pairs)]
    own = [{"prompt": prompt, "completion": text} for prompt, text in answers]
    desk_files = {
        "labelled": [row | {"label": "yes" if number % 2 else "no"} for number, row in enumerate(own)],
        "scored": [row | {"score": 1 + number % 5 + 4 * (number % 2)} for number, row in enumerate(own)],
        "negatives": [{"prompt": prompt, "completion": rejected} for prompt, _, rejected in pairs],
        "forget": [{"question": prompt, "answer": text} for prompt, text in answers[:12]],
        "retain": [{"question": prompt, "answer": text} for prompt, text in answers[12:]],
    }
    desk_files["forget_questions"] = [
        row | {"paraphrased_answer": f"indeed {row['answer']}", "perturbed_answer": ["the cat", "a bird", "no film"]}
        for row in desk_files["forget"]
    ]
    for name, rows in desk_files.items():
        tiny.write_jsonl(desk.folder / f"{name}.jsonl", rows)
    return desk


def play(desk: Desk, method: str, **changes: Any) -> dict[str, Any]:
    """The starter run file, shrunk, with further settings (`__` for a dot)."""
    (desk.folder / f"{method}.yaml").write_text(desk.call("init", method))
    settings = QUICK | STARTERS[method][0] | {name.replace("__", "."): value for name, value in changes.items()}
    return desk.run(
        f"{method}.yaml", *(part for name, value in settings.items() for part in ("--set", f"{name}={value}"))
    )


def output(run: dict[str, Any], task: str, name: str) -> str:
    found: str = next(step["outputs"][name] for step in run["steps"] if step["name"] == task)
    return found


def curve(run: dict[str, Any], task: str = "train-preference", name: str = "train/loss") -> list[float]:
    return [value for _, value in series(read_journal(output(run, task, "journal")), name)]


@pytest.mark.parametrize("method", list(STARTERS))
def test_a_starter_runs_and_is_reused(desk: Desk, method: str) -> None:
    _, steps, first = STARTERS[method]
    run = play(desk, method)
    assert executed(run) == steps, "on one desk, but no two of these methods share a step"
    assert executed(play(desk, method)) == set()
    assert curve(run, name=LOSS.get(method, "train/loss"))[0] == pytest.approx(first, abs=1e-4)
    assert run["metrics"]["eval/kl_to_reference"] > 0
    MORE[method](desk, run)


def _kto(desk: Desk, run: dict[str, Any]) -> None:
    assert 0 <= run["metrics"]["eval/reward_concordance"] <= 1
    rows = list(read_rows(output(run, "import-data", "data"), COMPLETIONS))
    assert {row["desirable"] for row in rows} == {True, False}


def _dro(desk: Desk, run: dict[str, Any]) -> None:
    trained = Path(output(run, "train-preference", "trained"))
    assert (trained / "value" / "model.safetensors").is_file()
    assert {"score_mean", "score_std"} <= read_manifest(trained).facts.keys()
    assert {"eval/reward_concordance", "eval/residual", "eval/explained_variance"} <= run["metrics"].keys()


def _d2o(desk: Desk, run: dict[str, Any]) -> None:
    rows = list(read_rows(output(run, "generate-candidates", "completions"), COMPLETIONS))
    prompts = read_stamp(output(run, "import-data", "data")).rows
    assert len(rows) == 3 * prompts
    assert all(row["prompt"][0]["role"] == "user" for row in rows), "trained on without the instruction"
    assert run["metrics"]["eval/undesirable_log_ratio"] < 0


def _npo(desk: Desk, run: dict[str, Any]) -> None:
    numbers = run["metrics"]
    assert numbers["eval/forget_probability"] < numbers["eval/baseline_forget_probability"]
    assert {"eval/forget_truth_ratio", "eval/forget_rouge"} <= numbers.keys()
    assert "forget ROUGE-L" in Path(output(run, "report", "page")).read_text()
    assert len(curve(run, name="train/loss_nll")) == 4


def _sdpo(desk: Desk, run: dict[str, Any]) -> None:
    """Every stage starts at log 2: it is held against its own start. The parts are the data."""
    for task in ("train-preference", "train-preference-2", "train-preference-3"):
        assert curve(run, task)[0] == pytest.approx(math.log(2), abs=1e-4)
    parts = [
        {row["pair_id"] for row in read_rows(output(run, f"split-stages{end}", "part"), PAIRS)} for end in ("", "-2")
    ]
    whole = {row["pair_id"] for row in read_rows(output(run, "import-data", "data"), PAIRS)}
    assert parts[0] | parts[1] == whole and not parts[0] & parts[1]
    page = Path(output(run, "report", "page")).read_text()
    assert "Against the control" in page and "beyond the control" in page
    final = Path(output(run, "evaluate-2", "numbers")).read_text()
    assert f'"eval/reward_margin": {run["metrics"]["eval/reward_margin"]}' in final, (
        "the headline is that of the stages"
    )


MORE = {"kto": _kto, "dro": _dro, "d2o": _d2o, "npo": _npo, "sdpo": _sdpo}


def test_pairs_are_converted_and_the_import_is_shared(desk: Desk) -> None:
    """dpo and kto read the same rows; what is held out stays pairs, so both have a reward accuracy."""
    desk.run_file("dpo.yaml", data={"heldout_fraction": 0.1}, evaluate={"max_prompts": 4})
    desk.run("dpo.yaml")
    content = {"pairs": "pairs.jsonl", "heldout_fraction": 0.1}
    desk.run_file("pairs.yaml", method="kto", data=content, evaluate={"max_prompts": 4})
    run = desk.run("pairs.yaml")
    assert executed(run) == {"convert", "reference-logps", "train-preference", "evaluate", "report"}
    assert "eval/reward_accuracy" in run["metrics"]
    labels = [row["desirable"] for row in read_rows(output(run, "convert", "converted"), COMPLETIONS)]
    assert sum(labels) == len(labels) / 2 == read_stamp(output(run, "import-data", "data")).rows
    assert curve(run)[0] == pytest.approx(0.5, abs=1e-4)


def test_unlearning_against_a_model_that_never_saw_the_rows(desk: Desk) -> None:
    tiny.make_model(desk.folder / "base", seed=2)
    more = {"unlearning__retain_model": "{model: ./base, epochs: 1}", "train__epochs": 1, "loss__retain": "kl"}
    run = play(desk, "npo", **more)
    assert {"sft", "evaluate-unlearning", "train-preference"} <= executed(run)
    assert {"eval/forget_quality", "eval/baseline_forget_quality", "eval/forget_ks_statistic"} <= run["metrics"].keys()
    assert curve(run, name="train/loss_forward_kl")[0] == pytest.approx(0, abs=1e-4)
    assert executed(play(desk, "npo", **more)) == set()


def test_samples_are_drawn_anew_in_every_round(desk: Desk) -> None:
    run = play(desk, "d2o", rounds__count=2)
    assert {"generate-candidates-2", "train-preference-2"} <= executed(run)
    texts = [
        sorted(row["text"] for row in read_rows(output(run, f"generate-candidates{end}", "completions"), COMPLETIONS))
        for end in ("", "-2")
    ]
    assert texts[0] != texts[1]
    second = curve(run, "train-preference-2", "train/completion_log_ratio")
    assert second[0] != pytest.approx(0, abs=1e-4), "held against the start model, not against its own start"
    assert curve(run, "train-preference", "train/completion_log_ratio")[0] == pytest.approx(0, abs=1e-4)


def test_check_finds_what_is_wrong_in_every_file(desk: Desk) -> None:
    tiny.write_jsonl(desk.folder / "bad.jsonl", [{"question": "A question?", "answer": ""}])
    (desk.folder / "npo.yaml").write_text(desk.call("init", "npo"))
    for setting, words in (("retain.files", "row 1"), ("unlearning.forget", "row 1"), ("data.forget", "row 1")):
        process = desk.start("check", "npo.yaml", "--set", "model=./model", "--set", f"{setting}=bad.jsonl")
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 2 and words in errors and "completion is empty" in errors
    assert desk.call("check", "npo.yaml", "--set", "model=./model").endswith("ok\n")
