"""From a run file to a folder for others, which plain transformers loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from journey_kit import Desk

pytestmark = pytest.mark.journey

PLAIN = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = (each.from_pretrained(sys.argv[1]) for each in (AutoTokenizer, AutoModelForCausalLM))
inputs = tokenizer.apply_chat_template([{"role": "user", "content": "a b?"}], add_generation_prompt=True, return_dict=True,
                                       return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=4, do_sample=False)
assert answer.shape[1] > inputs["input_ids"].shape[1]
assert not [name for name in sys.modules if name.startswith("preflow")]
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_export(desk: Desk, lora: dict[str, int] | None) -> None:
    name = "lora" if lora else "full"
    desk.run_file(f"{name}.yaml", train={"lora": lora, "learning_rate": 1e-2})
    run = desk.run(f"{name}.yaml")
    found = json.loads(desk.call("export", run["run"], "-o", name, "--json"))
    assert found["run"] == run["run"] and found["task"] == "train-preference"
    assert found["check"]["difference"] < 1e-4
    assert (
        ("adapter/adapter_model.safetensors" in found["files"]) == (found["check"]["adapter"] is not None) == bool(lora)
    )
    folder = desk.folder / name
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-P", "-c", PLAIN, str(folder)], check=True, env=environment, cwd=desk.folder)
    card = (folder / "README.md").read_text()
    assert "eval/win_rate" in card and run["run"] in card and str(desk.folder) not in card
    assert all(str(desk.folder) not in path.read_text() for path in folder.rglob("*.json"))


def test_refusals_and_what_a_reused_run_hands_on(desk: Desk) -> None:
    desk.run_file("full.yaml", train={"lora": None, "learning_rate": 1e-2})
    first, again = desk.run("full.yaml"), desk.run("full.yaml")
    said = desk.call("export", again["run"], "-o", "again")
    assert "largest difference of logits" in said
    assert f"reused by {again['run']}" in (desk.folder / "again" / "README.md").read_text()
    process = desk.start("export", first["run"], "-o", "again")
    assert "again: exists already" in process.communicate()[1] and process.returncode == 2
    (Path(desk.home) / "runs" / first["run"] / "end.json").unlink()
    process = desk.start("export", first["run"], "-o", "other")
    assert "expected a run that has succeeded" in process.communicate()[1] and process.returncode == 2
    assert not (desk.folder / "other").exists()
