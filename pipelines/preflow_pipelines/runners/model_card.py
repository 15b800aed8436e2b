"""The model card of a run's model: method, settings, data, metrics, lineage. Nothing in it is a place on this machine."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from preflow import __version__
from preflow.errors import SettingsError
from preflow.methods.catalogue import find_method
from preflow.methods.page import Method
from preflow.models.handoff import Reproduction
from preflow.tracking.journal import latest
from preflow.tracking.runs import RunView
from preflow_pipelines.runners.finished import FinishedModel

NOT_SHOWN = ("tracking", "hardware")
BESIDE = ("_low", "_high", "_se")
LAST_OF_CURVES = ("train/loss", "train/reward_accuracy", "train/reward_margin")

HOW_TO_LOAD = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
{prompt}
answer = model.generate(**inputs, max_new_tokens=64)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```"""
CHAT = """inputs = tokenizer.apply_chat_template(
    [{"role": "user", "content": "..."}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
)"""
PLAIN = 'inputs = tokenizer("...", return_tensors="pt")  # trained without a chat template'


def model_card(model: FinishedModel, reproduction: Reproduction, has_adapter: bool) -> str:
    """README.md of the folder that is handed on."""
    view, method = model.view, _method(model.view)
    parts = [
        _front(view),
        f"# {Path(base_name(view)).name} after {view.about['method']}",
        _what(view, method, model),
        "## Loading it",
        _loading(view, reproduction, has_adapter, model),
        "## Metrics",
        _metrics(model),
        "## Data",
        _data(model),
        "## Settings",
        f"The run file, with every default:\n\n```yaml\n{_settings(view)}```",
        "## Lineage",
        _lineage(model),
    ]
    return "\n\n".join(parts) + "\n"


def base_name(view: RunView) -> str:
    """How the start model is called: a hub id or URI as it is, a folder by its name."""
    source = str(view.about["sources"]["model"])
    return Path(source).name if Path(source).is_absolute() else source


def _method(view: RunView) -> Method | None:
    try:
        return find_method(view.about["method"])
    except SettingsError:  # one of somebody's own, which is not installed here
        return None


def _front(view: RunView) -> str:
    facts: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if not Path(str(view.about["sources"]["model"])).is_absolute():
        facts["base_model"] = base_name(view)
    return f"---\n{yaml.safe_dump(facts | {'tags': ['preflow', view.about['method']]}, sort_keys=False)}---"


def _what(view: RunView, method: Method | None, model: FinishedModel) -> str:
    lora = model.training.settings.get("lora")
    how = f"a LoRA adapter of rank {lora['rank']}, merged into the weights" if lora else "all weights trained"
    if method is None:
        return f"Trained with `{view.about['method']}` ({how})."
    loss = (view.about["run_file"].get("loss") or {}).get("name")
    named = f" Loss: `{loss}`." if loss else ""
    return (
        f"Trained with [{method.title}]({method.url}) (`{method.name}`, arXiv {method.paper}; {how}).{named}\n\n"
        f"{method.idea}\n\n    {method.equation}"
    )


def _loading(view: RunView, found: Reproduction, has_adapter: bool, model: FinishedModel) -> str:
    plain = view.about["run_file"].get("text", {}).get("template") == "none"
    lines = [
        HOW_TO_LOAD.format(prompt=PLAIN if plain else CHAT),
        f"Checked when it was exported: plain transformers, without preflow, loads this folder and finds the trained model's "
        f"logits on {found.prompts} prompts ({found.tokens} tokens); largest difference {found.difference:.3g}.",
    ]
    if has_adapter:
        base = f"`{base_name(view)}`" if model.starts_at_the_run else "the model of the stage or round before"
        checked = "" if found.adapter is None else f"; beside its base, largest difference {found.adapter:.3g}"
        lines.append(
            f"`adapter/` holds the LoRA adapter alone, for {base} (digest `{_start(model)}`){checked}. The weights beside "
            "this file have it already."
        )
    return "\n\n".join(lines)


def _metrics(model: FinishedModel) -> str:
    journal = model.evaluation.journal if model.evaluation else None
    measured = latest(journal) if journal else {}
    curves = latest(model.training.journal) if model.training.journal else {}
    rows = [
        f"| `{name}` | {value:.4g} | {_interval(measured, name)} |"
        for name, value in measured.items()
        if not name.endswith(BESIDE)
    ]
    rows += [f"| `{name}` (last step) | {curves[name]:.4g} | |" for name in LAST_OF_CURVES if name in curves]
    level = (journal or {}).get("settings", {}).get("confidence")
    said = f"On held-out rows; {level:.0%} intervals, by prompt." if level else "On held-out rows."
    return "\n".join([f"{said}\n", "| metric | value | interval |", "|---|---|---|", *rows])


def _interval(values: Mapping[str, float], name: str) -> str:
    if f"{name}_low" in values:
        return f"[{values[f'{name}_low']:.4g}, {values[f'{name}_high']:.4g}]"
    return f"± {values[f'{name}_se']:.3g} (standard error)" if f"{name}_se" in values else ""


def _data(model: FinishedModel) -> str:
    """What entered the run, by content; the digest covers names and bytes of an input's files."""
    rows = []
    for name, staged in model.view.about["inputs"].items():
        files = sorted({Path(place).name for place in staged["files"].values()})
        rows.append(f"| {name.replace('_', ' ')} | {', '.join(files)} | `{staged['digest']}` |")
    given = (model.training.journal or {}).get("inputs", {}).get("data", {})
    trained = f"\n\nTrained on {given['rows']} rows ({given['kind']})" if "rows" in given else ""
    digest = model.manifest.facts.get("data")
    trained += f", sha256 `{digest}`." if trained and digest else "." if trained else ""
    return "\n".join(["| input | files | sha256 |", "|---|---|---|", *rows]) + trained


def _settings(view: RunView) -> str:
    shown = {name: value for name, value in view.about["run_file"].items() if name not in NOT_SHOWN}
    return yaml.safe_dump(_placeless(shown), sort_keys=False, allow_unicode=True, width=110)


def _placeless(value: Any) -> Any:
    """Without what is not set, and without folders of this machine: of an absolute path its last part."""
    if isinstance(value, Mapping):
        return {name: _placeless(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_placeless(each) for each in value]
    return Path(value).name if isinstance(value, str) and re.match(r"~|/\w", value) else value


def _lineage(model: FinishedModel) -> str:
    view, training = model.view, model.training
    identity = view.about["tasks"][training.task]
    libraries = ", ".join(f"{name} {version}" for name, version in identity["libraries"].items())
    made = view.id if training.origin in (None, view.id) else f"{training.origin} (reused by {view.id})"
    rows = {
        "run": f"`{view.id}`",
        "training": f"step `{training.task}` of run `{made}`",
        "evaluation": f"step `{model.evaluation.task}`" if model.evaluation else "none",
        "start model": f"`{base_name(view)}`, digest `{view.about['inputs']['model']['digest']}`",
        "trained from": "the start model" if model.starts_at_the_run else f"digest `{_start(model)}`",
        "trained model": f"digest `{model.manifest.digest}`",
        "code": f"preflow {view.about['version']}, `{identity.get('image') or identity['key']}`",
        "libraries": libraries or "those of its image",
        "exported by": f"preflow {__version__}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _start(model: FinishedModel) -> str:
    return str(model.manifest.facts.get("trained_from", "unknown"))
