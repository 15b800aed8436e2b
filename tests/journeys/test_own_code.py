"""A loss and a rule of pairs from Python files that the run file names: nothing of the package is touched."""

import json
import math
from pathlib import Path

import pytest

from journey_kit import Desk, executed
from preflow.tracking.journal import read_journal, series

pytestmark = pytest.mark.journey

LOSS = """from torch.nn.functional import softplus
from preflow.losses.logps import margin


def margin_loss(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, *, beta=0.1):
    return softplus(-beta * margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps))
"""
RULE = """def neighbours(scores, order):
    ranked = sorted(order, key=lambda place: -scores[place])
    return list(zip(ranked, ranked[1:]))
"""
TRAINED = {"train-preference", "evaluate", "report"}
PAIRED = {"build-pairs", "reference-logps", *TRAINED}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "desk")
    (desk.folder / "my_losses.py").write_text(LOSS)
    (desk.folder / "my_rules.py").write_text(RULE)
    return desk


def test_a_loss_of_ones_own(desk: Desk) -> None:
    """It starts at ln 2, as DPO does; its bytes are in the cache key, its name is not; a rerun needs it no more."""
    desk.run_file(loss={"name": "my_losses.py:margin_loss", "arguments": {"beta": 0.2}})
    assert json.loads(desk.call("check", "dpo.yaml", "--json"))["ok"]
    run = desk.run("dpo.yaml")
    assert "reference-logps" in executed(run)
    journal = next(step for step in run["steps"] if step["name"] == "train-preference")["outputs"]["journal"]
    assert series(read_journal(journal), "train/loss")[0][1] == pytest.approx(math.log(2), abs=1e-5)
    (desk.folder / "my_losses.py").rename(desk.folder / "renamed.py")
    assert executed(desk.run("dpo.yaml", "--set", "loss.name=renamed.py:margin_loss")) == set()
    again = json.loads(desk.call("rerun", run["run"], "--step", "train-preference", "--json"))
    assert executed(again) >= {"train-preference"}
    (desk.folder / "my_losses.py").write_text(LOSS.replace("softplus(-beta", "softplus(-1.5 * beta"))
    assert executed(desk.run("dpo.yaml")) == TRAINED
    (desk.folder / "my_losses.py").write_text(LOSS.replace("    return", "    return 1 / 0 +"))
    process = desk.start("run", "dpo.yaml")
    said = process.communicate()[1]
    assert process.returncode == 2 and "my_losses.py line 6: ZeroDivisionError" in said, said


def test_a_rule_of_ones_own(desk: Desk) -> None:
    desk.run_file("rso.yaml", method="rso", pairs={"rule": "my_rules.py:neighbours"})
    assert "build-pairs" in executed(desk.run("rso.yaml"))
    assert executed(desk.run("rso.yaml")) == set()
    (desk.folder / "my_rules.py").write_text(RULE + "\n\nUNUSED = 1\n")
    assert "build-pairs" in executed(desk.run("rso.yaml"))
    (desk.folder / "my_rules.py").write_text(RULE.replace("ranked[1:]", "ranked[9:]").replace("sorted(", "sorted(3, "))
    process = desk.start("run", "rso.yaml")
    said = process.communicate()[1]
    assert process.returncode == 2 and "my_rules.py line 2: TypeError" in said, said
