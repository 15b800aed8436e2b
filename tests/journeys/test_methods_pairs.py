"""Methods of offline pairs, from the run file that `preflow init` writes to the page, on a tiny model, one after another."""

import math
from pathlib import Path
from typing import Any

import pytest

from journey_kit import Desk, executed
from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import PAIRS
from preflow.tracking.journal import read_journal, series

pytestmark = pytest.mark.journey

QUICK = {
    "model": "./model",
    "data.heldout_fraction": 0.3,
    "train.learning_rate": 1e-3,
    "train.batch_size": 24,
    "train.epochs": 2,
    "evaluate.samples_per_prompt": 0,
    "evaluate.kl_samples_per_prompt": 0,
}
LN2 = math.log(2)
CLOSED_FORMS = {
    "dpo": LN2,
    "ipo": (1 / (2 * 0.1)) ** 2,
    "gpo": 1.0,  # squared: (0 - 1)^2
    "dpop": LN2,
    "tdpo": LN2,
    "beta_dpo": LN2,
}
"""The loss where policy and reference agree."""
WITHOUT_REFERENCE = ("cpo", "simpo", "orpo")


def play(desk: Desk, method: str) -> dict[str, Any]:
    (desk.folder / f"{method}.yaml").write_text(desk.call("init", method))
    changes = (part for name, value in QUICK.items() for part in ("--set", f"{name}={value}"))
    return desk.run(f"{method}.yaml", *changes)


def losses(run: dict[str, Any]) -> list[float]:
    outputs = next(step["outputs"] for step in run["steps"] if step["name"] == "train-preference")
    return [value for _, value in series(read_journal(outputs["journal"]), "train/loss")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("pairs") / "desk")


def test_one_after_another_they_share_what_is_the_same(desk: Desk) -> None:
    """Data is imported once, and reference log-probs are computed once, whichever method asks; `explain` says so."""
    after = {"train-preference", "evaluate", "report"}
    for number, (method, first) in enumerate(CLOSED_FORMS.items()):
        run = play(desk, method)
        assert executed(run) == after | (set() if number else {"import-data", "reference-logps"}), method
        found = losses(run)
        assert found[0] == pytest.approx(first, rel=1e-4), method
        assert found[-1] < found[0], method
        said = desk.call("explain", run["run"])
        assert number == 0 or said.count("reused from") == 2
    assert executed(play(desk, "dpo")) == set()


@pytest.mark.parametrize("method", WITHOUT_REFERENCE)
def test_without_a_reference(desk: Desk, method: str) -> None:
    """No step computes reference log-probs; the first loss is what the untrained model's log-probs say."""
    run = play(desk, method)
    assert "reference-logps" not in {step["name"] for step in run["steps"]}
    assert losses(run)[-1] < losses(run)[0]
    assert executed(play(desk, method)) == set()


def test_the_rows_that_were_trained_on_are_pairs(desk: Desk) -> None:
    run = play(desk, "dpo")
    data = next(step["outputs"]["data"] for step in run["steps"] if step["name"] == "import-data")
    assert {row["split"] for row in read_rows(Path(data), PAIRS)} == {"train"}
