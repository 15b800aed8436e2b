"""The run file: one experiment. Its sections are those of the steps, plus where the files, the scorer and the judge are."""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from preflow.errors import SettingsError
from preflow.methods.catalogue import find_method
from preflow.methods.page import Method
from preflow.settings.data import ImportOptions
from preflow.settings.evaluate import EvaluateOptions
from preflow.settings.generate import DType, GenerateSettings
from preflow.settings.loss import LossSettings, loss_names
from preflow.settings.pairs import PairsSettings
from preflow.settings.reference import ReferenceSettings
from preflow.settings.rejection import RejectionSettings
from preflow.settings.score import ScoreOptions
from preflow.settings.section import Section, explain, setting
from preflow.settings.text import TextSettings
from preflow.settings.tracking import TrackingSettings
from preflow.settings.train import MAX_SEED, TrainOptions

FilePath = Annotated[str, Field(min_length=1)]
Files = Annotated[tuple[FilePath, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class DataSection(ImportOptions):
    """Files are a path, a glob or a list of them: JSONL, JSON, CSV, Parquet, or a folder of `datasets`."""

    prompts: Files | None = setting(None, "files with prompts", source="rso and every method that samples")
    pairs: Files | None = setting(None, "files with pairs", source="dpo and its family")
    sft: Files | None = setting(None, "files with demonstrations", source="supervised fine-tuning")
    heldout: Files | None = setting(
        None, "files of the same kind that are held out", source="none: split by prompt hash"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        named = [kind for kind in ("prompts", "pairs", "sft") if getattr(self, kind)]
        if len(named) != 1:
            raise ValueError(f"name exactly one of prompts, pairs, sft (found {', '.join(named) or 'none'})")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in ("prompts", "pairs", "sft") if getattr(self, kind))

    @property
    def files(self) -> tuple[str, ...]:
        return getattr(self, self.kind)


class ScoreSection(ScoreOptions):
    scorer: str = setting(
        ...,
        "FILE.py:FUNCTION or MODULE:FUNCTION; the function takes prompts and completions, returns scores",
        source="yours",
    )


class EvaluateSection(EvaluateOptions):
    pairs: Files | None = setting(
        None, "held-out pairs, instead of the data's own held-out rows", source="the data's own"
    )
    prompts: Files | None = setting(
        None, "held-out prompts, instead of the data's own held-out rows", source="the data's own"
    )
    judge: str | None = setting(
        None, "FILE.py:FUNCTION or MODULE:FUNCTION, as a scorer", source="no judge, no win rate"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.pairs and self.prompts:
            raise ValueError("name pairs or prompts, not both")
        return self


class RunFile(Section):
    method: str = setting(..., "see `preflow methods`", source="yours")
    model: str = setting(..., "folder, hub id[@revision] or s3:// URI", source="yours", min_length=1)
    data: DataSection = setting(..., "rows to train on", source="yours")
    text: TextSettings = setting(TextSettings(), "how messages become tokens", source="defaults")
    generate: GenerateSettings | None = setting(None, "how candidates are sampled", source="defaults")
    score: ScoreSection | None = setting(None, "how candidates are scored", source="defaults")
    rejection: RejectionSettings | None = setting(None, "which candidates are kept", source="defaults")
    pairs: PairsSettings | None = setting(None, "how candidates become pairs", source="defaults")
    reference: ReferenceSettings | None = setting(None, "how reference log-probs are computed", source="defaults")
    loss: Annotated[LossSettings, Field(description="the loss and its arguments")]
    train: TrainOptions = setting(TrainOptions(), "optimizer and batches", source="defaults")
    evaluate: EvaluateSection = setting(EvaluateSection(), "what is measured on held-out data", source="defaults")
    tracking: TrackingSettings = setting(TrackingSettings(), "where runs are recorded", source="defaults")
    hardware: str = setting("cpu", "`cpu`, or a hardware profile (a YAML file)", source="a laptop")
    seed: int = setting(0, "of every section that draws and does not name its own", source="fixed", ge=0, le=MAX_SEED)
    dtype: DType = setting(
        "float32", "of every section that runs a model and does not name its own", source="exact on every device"
    )


ALWAYS = frozenset({"method", "model", "text", "tracking", "hardware", "seed", "dtype"})
REQUIRED_IN_SECTION = {"score": "scorer: FILE.py:FUNCTION"}


def load_run_file(path: Path, overrides: tuple[str, ...] = ()) -> RunFile:
    """The run file at `path` with `section.key=value` overrides, defaults of its method filled in. Raises SettingsError."""
    content = read_yaml(path, absent=f"Make one with: preflow init dpo > {path.name}")
    return parse_run_file(content, overrides, where=path.name)


def parse_run_file(content: dict[str, Any], overrides: tuple[str, ...] = (), where: str = "run file") -> RunFile:
    """As `load_run_file`, from the file's content."""
    for override in overrides:
        _apply_override(content, override)
    if "method" not in content:
        raise SettingsError(
            f"{where}: no `method`. A run file starts with one, e.g. `method: dpo`; see `preflow methods`."
        )
    method = find_method(str(content["method"]))
    _refuse_unused_sections(content, method, where)
    _refuse_unfit(content, method, where)
    filled = _with_method_defaults(content, method)
    try:
        run_file = RunFile.model_validate(filled)
    except ValidationError as error:
        raise SettingsError(explain(error, RunFile, where)) from None
    _refuse_without_effect(run_file, content, where)
    return run_file


class _StrictLoader(yaml.SafeLoader):
    """YAML's own rules, but a key that stands twice is an error, not a silent replacement."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]  # `<<` brings another's keys
        keys = [self.construct_object(key, deep=True) for key in own]
        twice = [key for index, key in enumerate(keys) if key in keys[:index]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, example: str = "method: dpo", absent: str = "Check the path.") -> dict[str, Any]:
    """A YAML file that holds a mapping such as `example`. Raises SettingsError with the line."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file. {absent}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}). Expected a YAML text file in UTF-8.") from None
    except yaml.YAMLError as error:
        raise SettingsError(
            f"{path}: not valid YAML: {' '.join(str(error).split())}. Mend the line and try again."
        ) from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise SettingsError(f"{path}: found {found}, expected settings such as `{example}`. {absent}")
    return content


def _apply_override(content: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals or not name.strip():
        raise SettingsError(f"--set {override}: expected section.key=value, e.g. --set loss.beta=0.2")
    *path, last = name.strip().split(".")
    place = content
    for part in path:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise SettingsError(f"--set {override}: {part!r} is a value, not a section. Expected section.key=value.")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        place[last] = value


def _refuse_unused_sections(content: dict[str, Any], method: Method, where: str) -> None:
    known = set(RunFile.model_fields)
    unused = [name for name in content if name in known - ALWAYS - set(method.sections)]
    if unused:
        uses = ", ".join(method.sections)
        raise SettingsError(
            f"{where}: {unused[0]!r} has no effect for {method.name}, which uses {uses}. Remove the section."
        )


def _refuse_unfit(content: dict[str, Any], method: Method, where: str) -> None:
    data, loss = content.get("data"), content.get("loss")
    if isinstance(data, dict):
        kinds = [kind for kind in ("prompts", "pairs", "sft") if data.get(kind)]
        if len(kinds) == 1 and kinds[0] not in method.data:
            raise SettingsError(
                f"{where}: data.{kinds[0]} given, but {method.name} starts from {' or '.join(method.data)}."
            )
    name = loss.get("name") if isinstance(loss, dict) else None
    if name is not None and name in loss_names() and name not in method.losses:
        raise SettingsError(
            f"{where}: loss {name!r} does not fit {method.name}. Losses that fit: {', '.join(method.losses)}."
        )


def _with_method_defaults(content: dict[str, Any], method: Method) -> dict[str, Any]:
    filled = dict(content, method=method.name)
    for section in method.sections:
        given = filled.get(section)
        if given is None and section in REQUIRED_IN_SECTION:
            raise SettingsError(
                f"run file: {method.name} needs the section {section!r}, e.g. {REQUIRED_IN_SECTION[section]}"
            )
        given = {} if given is None and section not in ("data",) else given
        if isinstance(given, dict):
            ours = {key: default.value for key, default in method.defaults.get(section, {}).items()}
            shared = {key: content[key] for key in ("seed", "dtype") if key in content and key in _fields_of(section)}
            filled[section] = {**ours, **shared, **given}
        elif given is not None:
            filled[section] = given
    return {key: value for key, value in filled.items() if value is not None}


def _fields_of(section: str) -> set[str]:
    annotation = RunFile.model_fields[section].annotation
    models = [annotation, *getattr(annotation, "__args__", ())]
    return {name for model in models for name in getattr(model, "model_fields", {})}


def _refuse_without_effect(run_file: RunFile, content: dict[str, Any], where: str) -> None:
    for section, key, reason in _without_effect(run_file):
        given = content.get(section)
        if isinstance(given, dict) and given.get(key) is not None:
            raise SettingsError(f"{where}: {section}.{key} has no effect: {reason}. Remove it.")


def _without_effect(run: RunFile) -> list[tuple[str, str, str]]:
    """Settings that change nothing as the others stand, with the reason."""
    found = []
    if run.data.split_column or run.data.heldout:
        found.append(("data", "heldout_fraction", "the split comes from the split column or the held-out files"))
    if run.data.heldout or run.evaluate.pairs or run.evaluate.prompts:
        found.append(("data", "split_column", "held-out rows come from files of their own"))
    if run.evaluate.pairs or run.evaluate.prompts:
        found += [("data", key, "evaluation has files of its own") for key in ("heldout", "heldout_fraction")]
    if run.rejection and run.rejection.rule == "best_of_n":
        found += [("rejection", key, "best_of_n draws nothing") for key in ("temperature", "seed")]
    if run.pairs and run.pairs.rule == "best_worst":
        found.append(("pairs", "seed", "best_worst draws nothing"))
    if run.evaluate.samples_per_prompt == 0:
        found += [("evaluate", key, "samples_per_prompt is 0") for key in ("judge", "baseline", "temperature", "top_k")]
    return found
