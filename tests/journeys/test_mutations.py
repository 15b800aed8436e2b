"""What runs again when something changes: the exact set of steps, for each kind of change."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journey_kit import Desk, executed

pytestmark = pytest.mark.journey

ALL = {"import-data", "reference-logps", "train-preference", "evaluate", "report"}
TRAINED = {"train-preference", "evaluate", "report"}
RSO = ALL | {"generate-candidates", "score-candidates", "rejection-sample", "build-pairs"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk with its own code, where dpo.yaml has run once."""
    desk = Desk(tmp_path_factory.mktemp("desk"), own_code=True)
    desk.run_file()
    assert executed(desk.run("dpo.yaml")) == ALL
    yield desk


def test_nothing_changed(desk: Desk) -> None:
    started = time.monotonic()
    run = desk.run("dpo.yaml")
    assert executed(run) == set()
    assert time.monotonic() - started < 15, "a cached run takes a second or two; this is no benchmark"
    assert run["metrics"]["eval/reward_accuracy"] >= 0


def test_same_bytes_at_another_path(desk: Desk) -> None:
    (desk.folder / "elsewhere").mkdir()
    shutil.copy(desk.folder / "pairs.jsonl", desk.folder / "elsewhere" / "renamed.jsonl")
    shutil.copy(desk.folder / "scorers.py", desk.folder / "elsewhere" / "judges.py")
    assert (
        executed(
            desk.run(
                "dpo.yaml",
                "--set",
                "data.pairs=elsewhere/renamed.jsonl",
                "--set",
                "evaluate.judge=elsewhere/judges.py:vowels",
            )
        )
        == set()
    )


def test_one_data_row(desk: Desk) -> None:
    desk.write_pairs(25, "more.jsonl")
    assert executed(desk.run("dpo.yaml", "--set", "data.pairs=more.jsonl")) == ALL


@pytest.mark.parametrize(
    ("setting", "steps"),
    [
        ("loss.beta=0.2", TRAINED),
        ("loss.name=hinge_norm", TRAINED),
        ("seed=1", TRAINED),
        ("dtype=bfloat16", ALL - {"import-data"}),
        ("evaluate.temperature=0.9", {"evaluate", "report"}),
        ("text.template=none", ALL),
    ],
)
def test_settings(desk: Desk, setting: str, steps: set[str]) -> None:
    assert executed(desk.run("dpo.yaml", "--set", setting)) == steps
    assert executed(desk.run("dpo.yaml")) == set(), "putting it back finds the first result"


def test_sampling_temperature(desk: Desk) -> None:
    desk.run_file("rso.yaml", method="rso")
    assert executed(desk.run("rso.yaml")) == RSO
    assert executed(desk.run("rso.yaml", "--set", "generate.temperature=0.9")) == RSO - {"import-data"}
    assert executed(desk.run("rso.yaml", "--set", "rejection.temperature=0.9")) == RSO - {
        "import-data",
        "generate-candidates",
        "score-candidates",
    }


def test_code(desk: Desk) -> None:
    """One line of the loss that is used; of one that is not; a comment."""
    used, other = "components/preflow/losses/dpo.py", "components/preflow/losses/rso.py"
    desk.edit(other, "return (1 - beta * h).relu()", "return (1.0 - beta * h).relu()")
    assert executed(desk.run("dpo.yaml")) == set()
    desk.edit(
        used,
        "    return logistic(beta * h, label_smoothing)",
        "    # a comment\n    return logistic(beta * h, label_smoothing)",
    )
    assert executed(desk.run("dpo.yaml")) == set()
    desk.edit(used, "return logistic(beta * h, label_smoothing)", "return logistic(1.0 * beta * h, label_smoothing)")
    assert executed(desk.run("dpo.yaml")) == TRAINED
    desk.edit(used, "return logistic(1.0 * beta * h, label_smoothing)", "return logistic(beta * h, label_smoothing)")
    assert executed(desk.run("dpo.yaml")) == set(), "no stale hit, and none lost"


def test_tampered_outputs(desk: Desk) -> None:
    run = desk.run("dpo.yaml")
    outputs = {step["name"]: step["outputs"] for step in run["steps"]}
    weights = Path(outputs["train-preference"]["trained"]) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert executed(desk.run("dpo.yaml")) == TRAINED
    assert executed(desk.run("dpo.yaml")) == set(), "healed in one run"


def test_rerun_evaluate(desk: Desk) -> None:
    first = desk.run("dpo.yaml")
    desk.write_pairs(25)  # a rerun is about the data that the run had
    again = json.loads(desk.call("rerun", first["run"], "--step", "evaluate", "--json"))
    assert executed(again) == {"evaluate", "report"}
    desk.write_pairs(24)
    assert again["metrics"]["eval/reward_accuracy"] == first["metrics"]["eval/reward_accuracy"]
    assert executed(desk.run("dpo.yaml")) == set(), "a plain run returns to the first result"
    assert "asked to run again" in desk.call("explain", again["run"])
    desk.call("rerun", first["run"], "--step", "nothing", code=2)
