"""CONTRIBUTING.md's worked example, taken from the page into a copy of the package, compiled and run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from journey_kit import ROOT, Desk, executed
from preflow.tracking.journal import read_journal, series

BLOCK = re.compile(r"```python\n# (?P<place>[\w./]+\.py)\n(?P<code>.*?)```", re.DOTALL)
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = {match["place"]: match["code"] for match in BLOCK.finditer(PAGE)}
METHOD = {place: code for place, code in FILES.items() if "/" in place}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk whose own code has the example's files, and those of `Without touching the package` beside the run file."""
    desk = Desk(tmp_path_factory.mktemp("desk"), own_code=True)
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"):
        shutil.copy(ROOT / name, desk.code / name)
    for folder in ("tests", "docs"):
        shutil.copytree(ROOT / folder, desk.code / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for place, code in FILES.items():
        path = desk.code / place if "/" in place else desk.folder / place
        assert not path.exists(), f"{place} is there already: the example is to add files alone"
        path.write_text(code)
    return desk


def python(desk: Desk, *arguments: str, **more: str) -> None:
    """Python in the desk's own copy of the project."""
    environment = desk.environment | more
    environment["PYTHONPATH"] += os.pathsep + str(desk.code / "tests")
    done = subprocess.run(
        [sys.executable, *arguments], cwd=desk.code, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def starter(desk: Desk) -> str:
    """The run file that `preflow init` writes for the new method, for the desk's model."""
    (desk.folder / "new.yaml").write_text(desk.call("init", "rdpo").replace("./my-model", "./model"))
    return "new.yaml"


def test_the_example_is_five_files() -> None:
    rooms = [Path(place).parent.as_posix() for place in METHOD]
    assert rooms == [
        "components/preflow/losses",
        "components/preflow/settings/losses",
        "components/preflow/methods",
        "pipelines/preflow_pipelines",
        "tests/preflow/losses",
    ]


def test_it_is_in_the_catalogue_and_compiles(desk: Desk) -> None:
    assert "rdpo" in [method["name"] for method in json.loads(desk.call("methods", "--json"))]
    desk.call("compile", starter(desk), "-o", "new.pipeline.yaml")
    pipeline = next(iter(yaml.safe_load_all((desk.folder / "new.pipeline.yaml").read_text())))
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    (term,) = json.loads(parameters["train"]["defaultValue"])["objective"]
    assert term["loss"] == "preflow.losses.rdpo:rdpo" and term["arguments"] == {"alpha": 0.01, "beta": 0.1}


def test_its_test_passes_and_so_does_its_doctest(desk: Desk) -> None:
    places = ("tests/preflow/losses/test_rdpo.py", "components/preflow/losses/rdpo.py")
    python(desk, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--doctest-modules", *places)


@pytest.mark.journey
def test_with_its_generated_files_it_keeps_the_house_rules(desk: Desk) -> None:
    python(
        desk,
        "-m",
        "pytest",
        "-q",
        "tests/pipelines/test_golden.py",
        "-k",
        "files and rdpo",
        PREFLOW_REGENERATE="1",
        CI="",
    )
    python(desk, "tests/generated.py")
    python(desk, "-m", "pytest", "-q", "tests/architecture/test_house.py", "-k", "not model_library")
    python(desk, "-m", "pytest", "-q", "tests/preflow/losses/test_losses.py", "-k", "rdpo")


@pytest.mark.journey
def test_it_runs(desk: Desk) -> None:
    """The first step's loss is that of the lengths alone: the policy is the reference."""
    changes = ("train.batch_size=64", "train.epochs=1", "evaluate.max_new_tokens=4", "evaluate.kl_samples_per_prompt=0")
    options = [part for change in ("loss.alpha=0.5", *changes) for part in ("--set", change)]
    run = desk.run(starter(desk), *options)
    outputs = {step["name"]: step["outputs"] for step in run["steps"]}
    first = series(read_journal(outputs["train-preference"]["journal"]), "train/loss")[0][1]
    assert first == pytest.approx(_loss_of_lengths(desk, outputs), abs=1e-4)
    assert executed(desk.run(starter(desk), *options)) == set()


def _loss_of_lengths(desk: Desk, outputs: dict[str, dict[str, str]]) -> float:
    from preflow.artifacts.io import read_rows
    from preflow.artifacts.kinds import PAIRS
    from preflow.text.tokenizer import Tokenizer

    tokenizer = next(
        Tokenizer.load(path.parent) for path in (desk.home / "inputs").glob("*/text.json") if path.is_file()
    )
    leads = [
        len(tokenizer.encode_completion(row["chosen"])) - len(tokenizer.encode_completion(row["rejected"]))
        for row in read_rows(outputs["import-data"]["data"], PAIRS)
    ]
    return float(torch.nn.functional.softplus(-0.5 * torch.tensor(leads, dtype=torch.float64)).mean())


@pytest.mark.journey
def test_a_loss_and_a_rule_need_no_change_of_the_package(desk: Desk) -> None:
    desk.run_file("own.yaml", method="rso", loss={"name": "my_losses.py:margin_loss", "arguments": {"beta": 0.2}},
                  pairs={"rule": "my_rules.py:neighbours"})  # fmt: skip
    assert "train-preference" in executed(desk.run("own.yaml"))
