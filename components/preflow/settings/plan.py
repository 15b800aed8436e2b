"""What a run file means: the section that each step receives, and the inputs that must be staged."""

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preflow.errors import SettingsError
from preflow.settings.judge import JudgeSection
from preflow.settings.more_data import MoreData
from preflow.settings.own_code import names_a_file
from preflow.settings.pairs import RULE_FILE
from preflow.settings.runfile import MORE_DATA, RunFile
from preflow.settings.sections import make_sections
from preflow.settings.train import LOSS_FILE

InputKind = Literal["model", "tokenizer", "files", "scorer"]


@dataclass(frozen=True)
class InputSpec:
    """Something that enters the workflow from outside.

    `source` by kind: model: folder, hub id or URI; tokenizer: {"model": ..., "text": TextSettings};
    files: {"train": [paths], "heldout": [paths]}; scorer: FILE.py:FUNCTION, MODULE:FUNCTION, FILE.json (a preference
    matrix), or None for none.
    """

    name: str
    kind: InputKind
    source: Any


@dataclass(frozen=True)
class Plan:
    """A run file, resolved. `sections` holds canonical JSON per pipeline parameter."""

    method: str
    run_file: RunFile
    sections: Mapping[str, str]
    inputs: Mapping[str, InputSpec]

    @property
    def own_evaluation_files(self) -> bool:
        return "evaluation_files" in self.inputs


def make_plan(run_file: RunFile, folder: Path) -> Plan:
    """The plan of a run file whose relative paths start at `folder`. Raises SettingsError for files that are not there."""
    inputs = _inputs(run_file, folder)
    return Plan(run_file.method, run_file, make_sections(run_file, inputs), inputs)


def _inputs(run: RunFile, folder: Path) -> dict[str, InputSpec]:
    model = _local_path(run.model, folder)
    template = run.text.template
    text = (
        run.text
        if template in ("chat", "none")
        else run.text.model_copy(update={"template": str(_existing(template, folder))})
    )
    heldout = _expand(run.data.heldout or (), folder)
    inputs = {
        "model": InputSpec("model", "model", model),
        "tokenizer": InputSpec("tokenizer", "tokenizer", {"model": model, "text": text}),
        "data_files": InputSpec("data_files", "files", {"train": _expand(run.data.files, folder), "heldout": heldout}),
        "judge": InputSpec("judge", "scorer", _scorer(run.evaluate.judge, folder, "evaluate.judge")),
    }
    if own := _expand(run.evaluate.pairs or run.evaluate.prompts or (), folder):
        _refuse_shared(
            own,
            inputs["data_files"].source["train"],
            "is trained on and measured on, expected other rows in `evaluate`. Name another file there, or none: then "
            "data.heldout_fraction holds rows out.",
        )
        inputs["evaluation_files"] = InputSpec("evaluation_files", "files", {"train": [], "heldout": own})
    for name in MORE_DATA:
        section = getattr(run, name)
        more = section if isinstance(section, MoreData) else getattr(section, "data", None)
        if more is not None:
            trained = _expand(more.files, folder)
            if name == "retain":
                _refuse_shared(
                    trained,
                    inputs["data_files"].source["train"],
                    "is to be forgotten and retained, expected other rows in `retain`. Name another file.",
                )
            inputs[f"{name}_files"] = InputSpec(f"{name}_files", "files", {"train": trained, "heldout": []})
    inputs |= {name: InputSpec(name, "model", _local_path(place, folder)) for name, place in _models(run).items()}
    for name, files in (run.unlearning.files if run.unlearning else {}).items():
        name = f"unlearning_{name}_files"
        inputs[name] = InputSpec(name, "files", {"train": [], "heldout": _expand(files, folder)})
    if run.score and run.score.kind != "reward_model":
        reference = run.score.scorer if run.score.kind == "function" else None
        inputs["scorer"] = InputSpec("scorer", "scorer", _scorer(reference, folder, "score.scorer"))
    if run.judge and run.judge.kind in ("function", "matrix"):
        inputs["pair_judge"] = InputSpec("pair_judge", "scorer", _pair_judge(run.judge, folder))
    return inputs | {
        name: InputSpec(name, "scorer", _scorer(own, folder, name)) for name, own in _own_code(run).items()
    }


def _refuse_shared(files: list[str], others: list[str], what: str) -> None:
    for file in sorted(set(files) & set(others)):
        raise SettingsError(f"{file}: {what}")


def _own_code(run: RunFile) -> dict[str, str]:
    """Files of the user's with a loss, and with a rule of pairs."""
    named = {LOSS_FILE: run.loss.name if run.loss else "", RULE_FILE: run.pairs.rule if run.pairs else ""}
    return {name: reference for name, reference in named.items() if names_a_file(reference)}


def _models(run: RunFile) -> dict[str, str]:
    """Models beside the one that is trained."""
    oracle = run.unlearning.retain_model if run.unlearning else None
    named = {
        "helpful_model": run.reference.helpful if run.reference else None,
        "harmful_model": run.reference.harmful if run.reference else None,
        "base_model": oracle.model if oracle else None,
    }
    return {name: place for name, place in named.items() if place is not None}


def _pair_judge(judge: JudgeSection, folder: Path) -> str | None:
    return (
        str(_existing(judge.judge, folder)) if judge.kind == "matrix" else _scorer(judge.judge, folder, "judge.judge")
    )


def _scorer(reference: str | None, folder: Path, what: str) -> str | None:
    if reference is None:
        return None
    place, colon, function = reference.rpartition(":")
    if not colon or not place or not function.isidentifier():
        raise SettingsError(
            f"{what} {reference!r}: expected FILE.py:FUNCTION or MODULE:FUNCTION, e.g. my_scorers.py:helpfulness"
        )
    if place.endswith(".py"):
        return f"{_existing(place, folder)}:{function}"
    return reference


def _existing(place: str, folder: Path) -> Path:
    path = folder / os.path.expanduser(place)
    if not os.path.isfile(path):
        found = "a folder, expected a file" if os.path.isdir(path) else "no such file"
        raise SettingsError(
            f"{place}: {found} (looked for {path}). Paths in a run file start at the run file's folder."
        )
    return path


def _local_path(model: str, folder: Path) -> str:
    """A folder as an absolute path; anything else (hub id, URI) as it is."""
    path = folder / os.path.expanduser(model)
    if os.path.isfile(path):
        raise SettingsError(f"model {model!r}: a file, expected a folder with config.json. Name the file's folder.")
    if os.path.exists(path):
        return str(path.resolve())
    if model.startswith((".", "/", "~")):
        raise SettingsError(f"model {model!r}: no such folder (looked for {path}). Expected a folder with config.json.")
    return model


def _expand(patterns: tuple[str, ...], folder: Path) -> list[str]:
    files: list[str] = []
    for pattern in patterns:
        if "://" in pattern:
            files.append(pattern)
            continue
        local = os.path.expanduser(pattern)
        place = str(folder / local)
        found = [place]
        if not os.path.exists(place):
            found = sorted(str(folder / match) for match in glob.glob(local, root_dir=folder, recursive=True))
        if not found:
            raise SettingsError(
                f"{pattern}: no such file, folder or match (looked for {place}). Mend the path in the run file."
            )
        files += [path for path in found if path not in files]
    return files
