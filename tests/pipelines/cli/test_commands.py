"""The command line: help, exit codes, JSON, and what is said."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
import yaml
from click.testing import CliRunner

from preflow.methods.catalogue import catalogue
from preflow.settings.plan import make_plan
from preflow.settings.runfile import load_run_file
from preflow_pipelines.cli.display import duration, remaining
from preflow_pipelines.cli.main import COMMANDS, cli, main


@dataclass(frozen=True)
class Said:
    stdout: str
    stderr: str


def preflow(*arguments: str, home: Path, code: int = 0) -> Said:
    """What the command says, and that it ends with `code`; in this process, which has its libraries loaded."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(home),
        mock.patch.dict(os.environ, PREFLOW_HOME=str(home / "home")),
        mock.patch.object(sys, "argv", ["preflow", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main()
    said = Said(out.getvalue(), err.getvalue())
    assert left.value.code == code, said
    return said


def test_it_is_a_command_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "preflow_pipelines.cli.main", "explain", "abc"]
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PREFLOW_HOME": str(tmp_path)}
    )
    assert found.returncode == 2 and "no such run" in found.stderr and not found.stdout


def init(*arguments: str) -> str:
    """What `preflow init` writes, in this process."""
    found = CliRunner().invoke(cli, ["init", *arguments])
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_ends_with_examples(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    text = command.get_help(click.Context(command, info_name=name))
    assert f"preflow {name}" in text.partition("Examples:")[2]


def test_methods_as_json(tmp_path: Path) -> None:
    found = json.loads(preflow("methods", "--json", home=tmp_path).stdout)
    assert [method["name"] for method in found] == list(catalogue())
    assert json.loads(preflow("methods", "rso", "--json", home=tmp_path).stdout)[0]["paper"] == "2309.06657"
    shown = preflow("methods", "rlhf", home=tmp_path).stdout
    assert "Presets:     verifiable" in shown and "Losses:" not in shown


@pytest.mark.parametrize("method", sorted(catalogue()))
@pytest.mark.parametrize("full", [(), ("--full",)])
def test_what_init_writes_is_a_run_file(method: str, full: tuple[str, ...], tmp_path: Path) -> None:
    text = init(method, *full)
    (tmp_path / "run.yaml").write_text(text)
    for name in re.findall(r"\w+\.(?:jsonl|py)\b", text):
        (tmp_path / name).touch()
    (tmp_path / "my-model").mkdir()
    make_plan(load_run_file(tmp_path / "run.yaml", ("seed=5",)), tmp_path)
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= (200 if full else 12)


def test_init_and_full_init_mean_the_same() -> None:
    """Every default that --full writes is the default that holds when it is not written."""
    for method in catalogue():
        short, full = (yaml.safe_load(init(method, *extra)) for extra in ((), ("--full",)))
        for section, values in short.items():
            if isinstance(values, dict) and section != "evaluate":
                assert {key: full[section][key] for key in values} == values or section in (
                    "data",
                    "train",
                    "loss",
                    "generate",
                    "rejection",
                )


def test_wrong_words_exit_with_2(tmp_path: Path) -> None:
    assert "Commands:" in preflow("foo", home=tmp_path, code=2).stderr
    assert "Did you mean" in preflow("init", "dpp", home=tmp_path, code=2).stderr
    assert "no such file" in preflow("run", "absent.yaml", home=tmp_path, code=2).stderr
    assert "no such run" in preflow("explain", "abc", home=tmp_path, code=2).stderr
    assert "no such run" in preflow("rerun", "abc", "--step", "evaluate", home=tmp_path, code=2).stderr
    preflow("run", home=tmp_path, code=2)


def write_run(folder: Path, model: Path, rows: list[Any], **data: Any) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "run.yaml").write_text(
        yaml.safe_dump(
            {"method": "dpo", "model": str(model), "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.0, **data}}
        )
    )


def test_check_names_rows_and_fixes(tmp_path: Path, tiny_model: Path) -> None:
    good = {"prompt": "a b?", "chosen": "yes", "rejected": "no"}
    write_run(tmp_path, tiny_model, [good, {**good, "chosen": "no"}, "{", {**good, "prompt": None}])
    found = json.loads(preflow("check", "run.yaml", "--json", home=tmp_path, code=2).stdout)
    assert found["ok"] is False
    assert [(problem["row"], problem["code"]) for problem in found["problems"]] == [
        (2, "chosen_equals_rejected"),
        (3, "broken_json"),
        (4, "null"),
    ]
    assert set(found["problems"][0]) == {"file", "row", "code", "message", "fix"}
    assert found["problems"][0]["file"].endswith("pairs.jsonl")
    said = preflow("check", "run.yaml", home=tmp_path, code=2).stderr
    assert "pairs.jsonl row 2: chosen and rejected are the same text. Remove the row" in said
    write_run(tmp_path, tiny_model, [good])
    found = json.loads(preflow("check", "run.yaml", "--json", home=tmp_path).stdout)
    assert {name: found[name] for name in ("ok", "problems", "total")} == {"ok": True, "problems": [], "total": 0}
    assert {need["role"]: need["section"] for need in found["memory"]} == {"train": "train", "generate": "evaluate"}


def test_check_refuses_what_cannot_fit(tmp_path: Path, tiny_model: Path) -> None:
    write_run(tmp_path, tiny_model, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    (tmp_path / "gpu.yaml").write_text("train: {accelerator: nvidia.com/gpu, accelerator_memory: 100Mi}")
    said = preflow("check", "run.yaml", "--set", "hardware=gpu.yaml", home=tmp_path, code=2).stderr
    assert "hardware: train needs about" in said and "a device has 100Mi (nvidia.com/gpu)" in said
    (tmp_path / "gpu.yaml").write_text("train: {accelerator: nvidia.com/gpu, accelerator_memory: 16Gi}")
    assert (
        "memory of train: train needs"
        in preflow("check", "run.yaml", "--set", "hardware=gpu.yaml", home=tmp_path).stderr
    )


def test_check_looks_at_model_judge_and_settings(tmp_path: Path, tiny_model: Path) -> None:
    write_run(tmp_path, tmp_path / "model", [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    assert "no such folder" in preflow("check", "run.yaml", home=tmp_path, code=2).stderr
    (tmp_path / "model").mkdir()
    assert "config.json" in preflow("check", "run.yaml", home=tmp_path, code=2).stderr
    (tmp_path / "judge.py").write_text("import not_there_at_all\n")
    write_run(tmp_path, tiny_model, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    assert (
        "not_there_at_all"
        in preflow("check", "run.yaml", "--set", "evaluate.judge=judge.py:f", home=tmp_path, code=2).stderr
    )
    assert "no effect" in preflow("check", "run.yaml", "--set", "generate.seed=1", home=tmp_path, code=2).stderr


def test_check_says_what_to_do_about_settings(tmp_path: Path, tiny_model: Path) -> None:
    write_run(tmp_path, tiny_model, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    wrong = ("--set", "trian.epochs=2", "--set", "loss.beta=big")
    found = json.loads(preflow("check", "run.yaml", "--json", *wrong, home=tmp_path, code=2).stdout)
    assert [(each["row"], each["code"], each["message"]) for each in found["problems"]] == [
        (
            0,
            "settings",
            "loss.dpo.beta: found 'big'; input should be a valid number, unable to parse string as a number.",
        ),
        (0, "settings", "trian: unknown setting."),
    ]
    assert all(problem["fix"] for problem in found["problems"]) and found["total"] == 2
    (tmp_path / "empty").mkdir()
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "judges.py").write_text("print('loading')\ndef prefer(prompts, firsts, seconds): ...\n")
    for setting, words in [
        ("model=empty", "config.json"),
        ("evaluate.judge=not_there_at_all:f", "not_there_at_all:f: the module cannot be imported"),
        ("evaluate.judge=leaves.py:f", "leaves.py line 2: SystemExit: 0"),
        (
            "evaluate.judge=judges.py:prefer",
            "judges.py:prefer: takes (prompts, firsts, seconds), expected (prompts, comp",
        ),
        ("evaluate.judge=json:nothing", "json:nothing: the module has no function"),
        ("hardware=absent.yaml", "Expected `hardware: cpu`"),
    ]:
        (problem, *_) = json.loads(
            preflow("check", "run.yaml", "--json", "--set", setting, home=tmp_path, code=2).stdout
        )["problems"]
        assert words in f"{problem['message']} {problem['fix']}" and problem["fix"]


def test_an_absent_model_is_said_once(tmp_path: Path) -> None:
    write_run(tmp_path, tmp_path, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    found = preflow("check", "run.yaml", "--set", "model=file:///not/there", "--json", home=tmp_path, code=2)
    assert json.loads(found.stdout)["total"] == 1


def test_a_damaged_configuration_is_said_once(tmp_path: Path, tiny_model: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    write_run(tmp_path, model, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    for name in ("config.json", "tokenizer_config.json"):
        whole = (model / name).read_text()
        (model / name).write_text("{")
        (problem,) = json.loads(preflow("check", "run.yaml", "--json", home=tmp_path, code=2).stdout)["problems"]
        assert f"{name}: not valid JSON" in problem["message"] and problem["fix"] == "Save the model again."
        (model / name).write_text(whole)


def test_check_reads_files_behind_a_uri(tmp_path: Path, tiny_model: Path) -> None:
    write_run(tmp_path, tiny_model, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}, "{"])
    place = f"file://{tmp_path}/pairs.jsonl"
    found = preflow("check", "run.yaml", "--set", f"data.pairs={place}", "--json", home=tmp_path, code=2)
    assert [(each["file"], each["row"]) for each in json.loads(found.stdout)["problems"]] == [(place, 2)]


def test_templates_that_are_none(tmp_path: Path, tiny_model: Path) -> None:
    write_run(tmp_path, tiny_model, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    for data, words in [(b"\xff", "Expected a Jinja file in UTF-8"), (b"{% bad %}", "not valid Jinja (line 1")]:
        (tmp_path / "t.jinja").write_bytes(data)
        found = preflow("check", "run.yaml", "--set", "text.template=t.jinja", home=tmp_path, code=2)
        assert words in found.stderr and "1 problem\n" in found.stdout


def test_a_home_that_cannot_be_written(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "home").touch()
    write_run(tmp_path, tiny_model, [{"prompt": "a b?", "chosen": "yes", "rejected": "no"}])
    for command in ("run", "check"):
        assert "Set PREFLOW_HOME to a folder" in preflow(command, "run.yaml", home=tmp_path, code=2).stderr
    assert "FAIL  folder for runs" in preflow("doctor", home=tmp_path, code=1).stdout


def test_compile_output_that_cannot_be(tmp_path: Path, tiny_model: Path) -> None:
    write_run(tmp_path, tiny_model, [])
    assert "ends in .yaml" in preflow("compile", "run.yaml", "-o", "out.txt", home=tmp_path, code=2).stderr
    assert "cannot be written" in preflow("compile", "run.yaml", "-o", "no/out.yaml", home=tmp_path, code=2).stderr
    before = (tmp_path / "run.yaml").read_text()
    assert "is the run file" in preflow("compile", "run.yaml", "-o", "./run.yaml", home=tmp_path, code=2).stderr
    assert (tmp_path / "run.yaml").read_text() == before


def test_compile_writes_parameters_and_hardware(tmp_path: Path, tiny_model: Path) -> None:
    write_run(tmp_path, tiny_model, [])
    (tmp_path / "gpu.yaml").write_text("train: {accelerator: nvidia.com/gpu}\n")
    asked = ("compile", "run.yaml", "--set", "hardware=gpu.yaml", "-o")
    assert "Name it .yaml" in preflow(*asked, "out.json", home=tmp_path, code=2).stderr
    preflow(*asked, "out.yaml", home=tmp_path)
    pipeline = next(iter(yaml.safe_load_all((tmp_path / "out.yaml").read_text())))
    assert "accelerator" in pipeline["deploymentSpec"]["executors"]["exec-train-preference"]["container"]["resources"]
    assert json.loads(pipeline["root"]["inputDefinitions"]["parameters"]["train"]["defaultValue"])["batch_size"] == 64


def test_words_for_time() -> None:
    assert [duration(value) for value in (0.41, 12.3, 185, 7201)] == ["0.4s", "12s", "3:05", "2:00:01"]
    assert remaining({"done": 10, "total": 40, "seconds": 20.0}) == "1:00 left"
    assert remaining({"done": 0, "total": 40, "seconds": 20.0}) == ""
    assert remaining({"done": 25, "total": 40, "from": 20, "seconds": 20.0}) == "1:00 left", "of what this attempt did"
