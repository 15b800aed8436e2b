"""Export: the right model, reproduced by plain transformers, with a card; refusals with three parts."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from finished_run import digest_of, write_run
from preflow.artifacts.files import write_json
from preflow.errors import ArtifactError, ModelError, SettingsError
from preflow.models.handoff import check_reproduction
from preflow_pipelines.runners.exporting import Export, export_run
from preflow_pipelines.runners.finished import finished_model
from preflow_pipelines.runners.folder import RunFolder

DPO: dict[str, Any] = {"method": "dpo", "model": "./model", "data": {"pairs": "pairs.jsonl"}}
LORA = {"train": {"lora": {"rank": 2}}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A dpo run with an adapter; read only."""
    return write_run(tmp_path_factory.mktemp("desk"), DPO | LORA)


@pytest.fixture(scope="module")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """What was handed on of it; read only."""
    return export_run(finished, tmp_path_factory.mktemp("exported") / "new" / "out")


def test_what_is_handed_on(finished: RunFolder, exported: Export) -> None:
    found = exported.as_dict()
    assert found["check"]["difference"] <= 1e-5 and found["check"]["adapter"] <= 1e-3 and found["check"]["prompts"] == 3
    assert set(found["files"]) == {
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert [path.name for path in exported.folder.parent.iterdir()] == ["out"], "nothing beside it"
    out, trained = exported.folder, finished.path / "outputs" / "train-preference" / "trained"
    weights, expected = load_file(out / "model.safetensors"), load_file(trained / "model.safetensors")
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == 1, "where completions end"


def test_the_card_says_all_and_names_no_place(finished: RunFolder, exported: Export) -> None:
    card = (exported.folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and "dpo" in front["tags"]
    about = finished.about
    for said in (
        "arXiv 2305.18290",
        "| `eval/win_rate` | 0.75 | [0.625, 0.875] |",
        "pairs.jsonl | `" + "ef" * 32,
        about["inputs"]["model"]["digest"],
        digest_of(finished, "train-preference"),
        finished.id,
        "LoRA adapter of rank 2",
        "torch 2",
        "Trained on 8 rows (pairs/v1)",
        "learning_rate: 1.0e-06",
    ):
        assert said in card, said
    texts = [path.read_text() for path in exported.folder.rglob("*") if path.suffix in (".json", ".md", ".jinja")]
    for text in texts:
        assert str(finished.path.parents[2]) not in text
        assert not re.search(r"(?<![\w.:/])/(home|tmp|root|Users|work)\b", text)


def test_what_exists_is_left_alone(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(
        SettingsError, match=r"out: exists already\. Expected a new folder\. Remove it, or name another"
    ):
        export_run(finished, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_place_that_is_no_folder(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"file/out: cannot be written \(.*\). Expected a folder"):
        export_run(finished, tmp_path / "file" / "out")


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", None])
def test_unfinished_runs_are_refused(tmp_path: Path, state: str | None) -> None:
    run = RunFolder(tmp_path / "home" / "runs" / "one")
    write_json(run.path / "run.json", {"id": "one", "tasks": {}, "created": 1.0})
    if state:
        write_json(run.path / "end.json", {"state": state, "error": None, "ended": 1.0})
    word = (state or "killed").lower()
    with pytest.raises(SettingsError, match=f"run one: {word}, expected a run that has succeeded. Wait for it, or run"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_and_missing_models_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, DPO)
    weights = run.path / "outputs" / "train-preference" / "trained" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError, match="model of train-preference is not whole .* Run its file again"):
        export_run(run, tmp_path / "out")
    weights.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.journey
def test_other_weights_and_other_templates_are_found(finished: RunFolder, exported: Export, tmp_path: Path) -> None:
    """The check compares what was trained with what plain transformers finds."""
    shutil.copytree(exported.folder, tmp_path / "out")
    trained = finished.path / "outputs" / "train-preference" / "trained"
    tokenizer = Path(finished.about["inputs"]["tokenizer"]["uri"])
    weights = load_file(tmp_path / "out" / "model.safetensors")
    weights["model.norm.weight"] *= 1.01
    save_file(weights, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="its logits differ by up to .* Run the training step again"):
        check_reproduction(tmp_path / "out", trained, tokenizer)
    (tmp_path / "out" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(ModelError, match="encodes a prompt as .* Expected the same tokens"):
        check_reproduction(tmp_path / "out", trained, tokenizer)
    (tmp_path / "out" / "config.json").unlink()
    with pytest.raises(ModelError, match="plain transformers cannot load it"):
        check_reproduction(tmp_path / "out", trained, tokenizer)


def test_of_several_rounds_the_measured_one(tmp_path: Path) -> None:
    """The last round where it is kept; where the best is, what the selections kept."""
    (tmp_path / "prompts.jsonl").touch()
    (tmp_path / "scorers.py").touch()
    content = {
        "method": "online_dpo",
        "model": "./model",
        "data": {"prompts": "prompts.jsonl"},
        "score": {"scorer": "scorers.py:short"},
        "evaluate": {"judge": "scorers.py:vowels"},
        "rounds": {"count": 3, "keep": "best"},
    }
    run = write_run(tmp_path, content, {"select-model": "second", "select-model-2": "first"})
    model = finished_model(run)
    assert model.training.task == "train-preference-2"
    assert model.manifest.digest == digest_of(run, "train-preference-2")
    assert not model.starts_at_the_run
    assert "train-preference-2" in export_run(run, tmp_path / "out").as_dict()["task"]
    assert (
        "trained from | digest `" + digest_of(run, "train-preference") in (tmp_path / "out" / "README.md").read_text()
    )
