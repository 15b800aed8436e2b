"""The run file: one experiment. Its sections are those of the steps, plus where the files, the scorer and the judge are."""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from preflow.errors import SettingsError, did_you_mean
from preflow.methods.catalogue import find_method
from preflow.methods.page import Method
from preflow.settings.convert import ConvertOptions
from preflow.settings.data import ImportOptions, refuse_aggregation
from preflow.settings.effects import refuse_without_effect
from preflow.settings.evaluate import EvaluateOptions
from preflow.settings.generate import DType, GenerateOptions
from preflow.settings.judge import JudgeSection
from preflow.settings.loss import LossSettings, loss_names
from preflow.settings.more_data import Files, MoreData
from preflow.settings.own_code import names_a_file
from preflow.settings.own_files import named, read_own_files
from preflow.settings.pairs import PairsSettings
from preflow.settings.reference import ReferenceSection
from preflow.settings.rejection import RejectionSettings
from preflow.settings.reward_model import RewardModelSection
from preflow.settings.rewarding import reward_problem
from preflow.settings.rl import RLOptions
from preflow.settings.rounds import RoundsSettings
from preflow.settings.score import ScoreSection
from preflow.settings.section import Section, explain, setting
from preflow.settings.selecting import refuse_contradictions
from preflow.settings.stages import StagesSettings
from preflow.settings.text import TextSettings
from preflow.settings.tracking import TrackingSettings
from preflow.settings.train import MAX_SEED, TrainOptions, TrainSection
from preflow.settings.unlearning import UnlearningSection
from preflow.settings.yaml_file import read_yaml, read_yaml_text

KINDS = ("prompts", "pairs", "sft", "labelled", "scored", "negatives", "forget")
MORE_DATA = {"sft": "sft", "reward_model": "pairs", "targets": "sft", "teacher": "sft", "retain": "sft"}
"""Sections that bring rows beside the data, and what a row of theirs is."""


class DataSection(ImportOptions):
    """Files are a path, a glob or a list of them: JSONL, JSON, CSV, Parquet, or a folder of `datasets`."""

    prompts: Files | None = setting(None, "files with prompts", source="rso and every method that samples")
    pairs: Files | None = setting(None, "files with pairs", source="dpo and its family")
    sft: Files | None = setting(None, "files with demonstrations", source="supervised fine-tuning")
    labelled: Files | None = setting(None, "files with completions and a label, good or bad", source="kto")
    scored: Files | None = setting(None, "files with completions and a score", source="dro")
    negatives: Files | None = setting(None, "files with completions to avoid", source="d2o")
    forget: Files | None = setting(None, "files with completions to forget", source="npo")
    heldout: Files | None = setting(
        None, "files of the same kind that are held out", source="none: split by prompt hash"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        named = [kind for kind in KINDS if getattr(self, kind)]
        if len(named) != 1:
            raise ValueError(f"name exactly one of {', '.join(KINDS)} (found {', '.join(named) or 'none'})")
        refuse_aggregation(self, self.kind)
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind))

    @property
    def files(self) -> tuple[str, ...]:
        return getattr(self, self.kind)


class SftSection(TrainOptions):
    """Supervised fine-tuning before the method's own training."""

    data: MoreData = setting(..., "demonstrations", source="yours")


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
    sft: SftSection | None = setting(None, "supervised fine-tuning first", source="none")
    reward_model: RewardModelSection | None = setting(None, "a reward model trained on human pairs", source="none")
    targets: MoreData | None = setting(None, "texts that the policy keeps likely", source="none")
    teacher: MoreData | None = setting(None, "a teacher's answers as further candidates", source="none")
    retain: MoreData | None = setting(None, "rows to keep while others are forgotten", source="none")
    rounds: RoundsSettings | None = setting(None, "sample and train several times", source="defaults")
    stages: StagesSettings | None = setting(None, "train on the data part by part", source="defaults")
    generate: GenerateOptions | None = setting(None, "how candidates are sampled", source="defaults")
    score: ScoreSection | None = setting(None, "how candidates are scored", source="defaults")
    judge: JudgeSection | None = setting(None, "how candidates are compared", source="defaults")
    rejection: RejectionSettings | None = setting(None, "which candidates are kept", source="defaults")
    pairs: PairsSettings | None = setting(None, "how candidates become pairs", source="defaults")
    convert: ConvertOptions | None = setting(None, "how rows become rows of another kind", source="defaults")
    reference: ReferenceSection | None = setting(None, "how reference log-probs are computed", source="defaults")
    loss: Annotated[LossSettings | None, Field(description="the loss and its arguments")] = None
    train: TrainSection = setting(TrainSection(), "optimizer and batches", source="defaults")
    rl: RLOptions | None = setting(None, "on-policy reinforcement learning", source="defaults")
    evaluate: EvaluateSection = setting(EvaluateSection(), "what is measured on held-out data", source="defaults")
    unlearning: UnlearningSection | None = setting(None, "what the model still knows", source="none")
    tracking: TrackingSettings = setting(TrackingSettings(), "where runs are recorded", source="defaults")
    hardware: str = setting("cpu", "`cpu`, or a hardware profile (a YAML file)", source="a laptop")
    seed: int = setting(0, "of every section that draws and does not name its own", source="fixed", ge=0, le=MAX_SEED)
    dtype: DType = setting(
        "float32", "of every section that runs a model and does not name its own", source="exact on every device"
    )

    @model_validator(mode="after")
    def _rewards_come_from_somewhere(self) -> Self:
        if problem := reward_problem(self):
            raise ValueError(problem)
        return self


ALWAYS = frozenset({"method", "model", "text", "tracking", "hardware", "seed", "dtype"})
REQUIRED_IN_SECTION = {
    "judge": "judge: FILE.py:FUNCTION",
    "score": "scorer: FILE.py:FUNCTION",
    "retain": "files: retain.jsonl",
}


def load_run_file(path: Path, overrides: tuple[str, ...] = ()) -> RunFile:
    """The run file at `path` with `section.key=value` overrides, defaults of its method filled in. Raises SettingsError."""
    content = read_yaml(path, absent=f"Make one with: preflow init dpo > {path.name}")
    return parse_run_file(content, overrides, where=path.name, folder=path.parent)


def parse_run_file(
    content: dict[str, Any], overrides: tuple[str, ...] = (), where: str = "run file", folder: Path = Path()
) -> RunFile:
    """As `load_run_file`, from the content of a file in `folder`."""
    for override in overrides:
        _apply_override(content, override)
    content = {name: section for name, section in content.items() if section is not None}  # as if it were not there
    if "method" not in content:
        raise SettingsError(
            f"{where}: no `method`. A run file starts with one, e.g. `method: dpo`; see `preflow methods`."
        )
    method = find_method(str(content["method"]))
    _refuse_unused_sections(content, method, where)
    _refuse_unfit(content, method, where)
    _refuse_none_or_several(content, method, where)
    filled = read_own_files(_with_method_defaults(content, method), method, folder, where)
    try:
        run_file = RunFile.model_validate(filled)
    except ValidationError as error:
        raise SettingsError(explain(error, RunFile, where)) from None
    refuse_without_effect(run_file, content, where)
    refuse_contradictions(run_file, where)
    return run_file


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
        place[last] = read_yaml_text(value)
    except yaml.YAMLError:
        place[last] = value


def _refuse_unused_sections(content: dict[str, Any], method: Method, where: str) -> None:
    known, kind = set(RunFile.model_fields), _kind_of(content)
    used = (*method.sections_for(kind), *method.optional)
    unused = [name for name in content if name in known - ALWAYS - set(used)]
    if unused:
        start = f" from {kind}" if kind in method.with_data or unused[0] in sum(method.with_data.values(), ()) else ""
        raise SettingsError(
            f"{where}: {unused[0]!r} has no effect for {method.name}{start}, which uses {', '.join(used)}. Remove the section."
        )


def _kind_of(content: dict[str, Any]) -> str | None:
    """The kind of rows that a run file starts from; None where it does not name exactly one."""
    data = content.get("data")
    kinds = [kind for kind in KINDS if data.get(kind)] if isinstance(data, dict) else []
    return kinds[0] if len(kinds) == 1 else None


def _refuse_unfit(content: dict[str, Any], method: Method, where: str) -> None:
    kind, name = _kind_of(content), named(content, "loss", "name")
    if kind is not None and kind not in method.data:
        raise SettingsError(f"{where}: data.{kind} given, but {method.name} starts from {' or '.join(method.data)}.")
    if name is not None and not names_a_file(name) and name not in method.losses:
        ours = loss_names()
        said = "does not fit" if name in ours else "is none of ours, so it does not fit"
        meant = "" if name in ours else did_you_mean(str(name), ours)
        raise SettingsError(
            f"{where}: loss {name!r} {said} {method.name}.{meant} Losses that fit: {', '.join(method.losses) or 'none'}."
        )


def _refuse_none_or_several(content: dict[str, Any], method: Method, where: str) -> None:
    choice = set(method.one_of) & {*method.sections_for(_kind_of(content)), *method.optional}
    named = [name for name in method.one_of if name in content]
    if choice and len(named) != 1:
        fix = (
            "Remove one."
            if named
            else f"Add one, e.g. {method.one_of[0]}: {{{REQUIRED_IN_SECTION[method.one_of[0]]}}}."
        )
        raise SettingsError(
            f"{where}: found {' and '.join(named) or 'none'} of the sections {' and '.join(method.one_of)}; {method.name} takes "
            f"exactly one. {fix}"
        )


def _with_method_defaults(content: dict[str, Any], method: Method) -> dict[str, Any]:
    filled = dict(content, method=method.name)
    always = method.sections_for(_kind_of(content))
    sections = [name for name in always if name not in method.one_of or name in content]
    for section in (*sections, *(name for name in method.optional if name in content)):
        if section not in filled and section in REQUIRED_IN_SECTION:
            raise SettingsError(
                f"run file: {method.name} needs the section {section!r}, e.g. {REQUIRED_IN_SECTION[section]}"
            )
        given = filled.get(section, None if section == "data" else {})  # without rows there is nothing to fill
        if isinstance(given, dict):
            ours = {key: default.value for key, default in method.defaults.get(section, {}).items()}
            shared = {key: content[key] for key in ("seed", "dtype") if key in content and key in _fields_of(section)}
            ours = {} if names_a_file(given.get("name")) else ours  # a loss of the user's own has defaults of its own
            filled[section] = {**ours, **shared, **given}
    return filled


def _fields_of(section: str) -> set[str]:
    annotation = RunFile.model_fields[section].annotation
    models = [annotation, *getattr(annotation, "__args__", ())]
    return {name for model in models for name in getattr(model, "model_fields", {})}
