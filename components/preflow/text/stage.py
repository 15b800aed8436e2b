"""Stage a tokenizer: copy what tokenization needs into a folder that is the whole contract of a workflow's steps."""

import json
import shutil
from pathlib import Path
from typing import Any

from preflow.artifacts.files import write_json
from preflow.errors import ModelError, SettingsError
from preflow.settings.text import TextSettings
from preflow.text.template import check_syntax

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
TEMPLATE_FILE, CONTRACT_FILE = "chat_template.jinja", "text.json"


def stage_tokenizer(model_folder: str | Path, out: str | Path, settings: TextSettings) -> None:
    """Fill the folder `out`: tokenizer files, the template that holds, and `text.json`. Raises ModelError."""
    model, out = Path(model_folder), Path(out)
    if not (model / "tokenizer.json").is_file():
        raise ModelError(
            f"{model}: no tokenizer.json. Expected a fast tokenizer; convert a slow one with "
            "transformers: AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)."
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (model / name).is_file():
            shutil.copyfile(model / name, out / name)
    template = _template(model, settings)
    if template is not None:
        check_syntax(template)
        (out / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    contract = {
        "template": "none" if template is None else "chat",
        "max_prompt_tokens": settings.max_prompt_tokens,
        "max_completion_tokens": settings.max_completion_tokens,
        "eos_token_id": _config_eos(model),
        "max_positions": _max_positions(model),
    }
    write_json(out / CONTRACT_FILE, contract)


def _template(model: Path, settings: TextSettings) -> str | None:
    if settings.template == "none":
        return None
    if settings.template != "chat":
        path = Path(settings.template)
        if not path.is_file():
            raise SettingsError(
                f"text.template {settings.template!r}: no such file. Expected chat, none or a Jinja file."
            )
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(
                f"text.template {path}: cannot be read ({error}). Expected a Jinja file in UTF-8."
            ) from None
    own = model / TEMPLATE_FILE
    if own.is_file():
        return own.read_text(encoding="utf-8")
    config = model / "tokenizer_config.json"
    template = _json(config).get("chat_template")
    if isinstance(template, list):
        template = next((each["template"] for each in template if each["name"] == "default"), None)
    if not template:
        raise ModelError(
            f"{model}: its tokenizer has no chat template. Give one (text.template: FILE), "
            "or take the texts as they are (text.template: none)."
        )
    return str(template)


def _config_eos(model: Path) -> list[int]:
    """End-of-sequence ids of the model's own configuration: what generation stops at."""
    for name in ("generation_config.json", "config.json"):
        path = model / name
        if path.is_file():
            eos = _json(path).get("eos_token_id")
            if eos is not None:
                return [eos] if isinstance(eos, int) else list(eos)
    return []


def _max_positions(model: Path) -> int | None:
    """The longest sequence that the model was made for."""
    config = _json(model / "config.json")
    found = config.get("max_position_embeddings") or config.get("n_positions")
    return int(found) if found else None


def _json(path: Path) -> dict[str, Any]:
    """What a JSON file of the model holds; nothing if it is not there. Raises ModelError."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error}). Save the model again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}, expected an object. Save the model again.")
    return content
