"""Handing a run's model on: a folder that needs nothing of ours, with a card that says where the model comes from."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.artifacts.files import publish_folder, write_json, write_text
from preflow.errors import ArtifactError, SettingsError
from preflow.models.handoff import Reproduction, check_reproduction
from preflow.text.stage import CONTRACT_FILE, TEMPLATE_FILE
from preflow.text.tokenizer import Tokenizer
from preflow_pipelines.runners.finished import FinishedModel, finished_model
from preflow_pipelines.runners.folder import RunFolder
from preflow_pipelines.runners.model_card import base_name, model_card

GENERATION, ADAPTER = "generation_config.json", "adapter"
LEFT_OUT = (f"{ADAPTER}/", "value/", "tokenizer", "special_tokens_map.json", "chat_template", GENERATION)
"""Of the trained folder: what comes from elsewhere, and what no policy needs."""


@dataclass(frozen=True)
class Export:
    folder: Path
    model: FinishedModel
    reproduction: Reproduction
    has_adapter: bool

    def as_dict(self) -> dict[str, Any]:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {
            "run": self.model.view.id,
            "folder": str(self.folder),
            "task": self.model.training.task,
            "model": self.model.manifest.digest,
            "files": {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files},
            "check": vars(self.reproduction),
        }


def export_run(run: RunFolder, target: Path) -> Export:
    """Write the model of `run` to the new folder `target`; it appears whole and checked, or not at all.

    Raises SettingsError, ArtifactError, and ModelError where plain transformers does not find the trained model in it.
    """
    if target.exists() or target.is_symlink():
        raise SettingsError(f"{target}: exists already. Expected a new folder. Remove it, or name another one with -o.")
    model = finished_model(run)
    tokenizer = Path(model.view.about["inputs"]["tokenizer"]["uri"])
    if not (tokenizer / CONTRACT_FILE).is_file():
        raise ArtifactError(f"{tokenizer}: the run's tokenizer is gone from the store. Run its file again.")
    try:
        with publish_folder(target) as folder:
            return _fill(folder, target, model, tokenizer)
    except OSError as error:
        said = f"{target}: cannot be written ({error.strerror or error})"
        raise SettingsError(f"{said}. Expected a folder with room for a model. Name another one with -o.") from None


def _fill(folder: Path, target: Path, model: FinishedModel, tokenizer: Path) -> Export:
    _copy_weights(model, folder)
    has_adapter = _copy_adapter(model, folder)
    _write_tokenizer(tokenizer, folder)
    _write_generation_config(model.model, Tokenizer.load(tokenizer), folder)
    reproduction = check_reproduction(folder, model.model, tokenizer, model.start if has_adapter else None)
    write_text(folder / "README.md", model_card(model, reproduction, has_adapter))
    return Export(target, model, reproduction, has_adapter)


def _copy_weights(model: FinishedModel, folder: Path) -> None:
    """Copies, no links: whoever gets the folder may edit it."""
    for name in model.manifest.files:
        if not name.startswith(LEFT_OUT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model.model / name, folder / name)


def _copy_adapter(model: FinishedModel, folder: Path) -> bool:
    """The adapter, whose configuration names the base by its name instead of a place on this machine."""
    source = model.model / ADAPTER
    if not source.is_dir():
        return False
    (folder / ADAPTER).mkdir()
    for path in source.glob("*.safetensors"):
        shutil.copyfile(path, folder / ADAPTER / path.name)
    config = _read_json(source / "adapter_config.json")
    write_json(
        folder / ADAPTER / "adapter_config.json", config | {"base_model_name_or_path": base_name(model.view)}, indent=2
    )
    return True


def _write_tokenizer(staged: Path, folder: Path) -> None:
    """The tokenizer with the template that was trained with, and no other one."""
    for path in staged.glob("*.json"):
        if path.name not in (CONTRACT_FILE, GENERATION, "tokenizer_config.json", "manifest.json"):
            shutil.copyfile(path, folder / path.name)
    config = _read_json(staged / "tokenizer_config.json")
    left_out = ("chat_template", "name_or_path")
    own = {name: value for name, value in config.items() if name not in left_out}
    write_json(folder / "tokenizer_config.json", own, indent=2)
    if (staged / TEMPLATE_FILE).is_file():
        shutil.copyfile(staged / TEMPLATE_FILE, folder / TEMPLATE_FILE)


def _write_generation_config(trained: Path, tokenizer: Tokenizer, folder: Path) -> None:
    """The model's own, which stops where the training ended its completions."""
    config = _read_json(trained / GENERATION)
    stops = sorted({*tokenizer.stop_ids, *_as_list(config.get("eos_token_id"))})
    own = {"eos_token_id": stops if len(stops) > 1 else stops[0], "pad_token_id": tokenizer.pad_id}
    write_json(folder / GENERATION, {"pad_token_id": None} | config | own, indent=2)


def _as_list(value: Any) -> list[int]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
