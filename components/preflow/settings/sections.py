"""What each step receives: the sections of a run file, completed, as pipeline parameters by name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflow.settings.data import ImportOptions, ImportSettings
from preflow.settings.evaluate import EvaluateOptions, EvaluateSettings
from preflow.settings.generate import GenerateOptions, GenerateSettings
from preflow.settings.more_data import MoreData
from preflow.settings.objective import COMPLETION, nll_term
from preflow.settings.runfile import MORE_DATA, RunFile
from preflow.settings.score import ScoreOptions, ScoreSettings
from preflow.settings.section import Section
from preflow.settings.stages import StageSettings
from preflow.settings.train import TrainOptions, TrainSettings

AS_THEY_ARE = ("rejection", "pairs", "reference", "judge", "reward_model", "rl", "convert")
"""Sections that their step receives as the run file has them."""
IMPORTED_AS = {"negatives": "sft", "forget": "sft"}
"""Kinds of data that are read as another kind is."""

Named = tuple[str, Section]


def make_sections(run: RunFile, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Canonical JSON per pipeline parameter. `inputs` are the plan's, by name."""
    found: list[Named] = [*_data(run, inputs), *_more_data(run), *_generate(run), *_train(run), *_stages(run)]
    found += [(name, getattr(run, name)) for name in AS_THEY_ARE if getattr(run, name, None) is not None]
    if run.score:
        found.append(("score", ScoreSettings(**only(run.score, ScoreOptions), function=function_of(run.score.scorer))))
    found.append(("evaluate", _evaluate(run, inputs)))
    return {name: section.canonical() for name, section in found}


def only(section: Section, model: type[Section]) -> dict[str, Any]:
    """The fields of `section` that `model` has."""
    return {name: getattr(section, name) for name in model.model_fields}


def function_of(reference: str) -> str:
    """The function in FILE.py:FUNCTION."""
    return reference.rpartition(":")[2]


def _data(run: RunFile, inputs: Mapping[str, Any]) -> Iterator[Named]:
    reading = only(run.data, ImportOptions)
    if "evaluation_files" in inputs:
        reading["heldout_fraction"] = 0.0  # what is measured on comes from elsewhere, so everything is trained on
        own_kind = "pairs" if run.evaluate.pairs else "prompts"
        yield "evaluation_data", ImportSettings(**reading | {"split_column": None}, kind=own_kind)
    yield "data", ImportSettings(**reading, kind=IMPORTED_AS.get(run.data.kind, run.data.kind))


def _more_data(run: RunFile) -> Iterator[Named]:
    """Rows beside the data are all trained on."""
    for name, kind in MORE_DATA.items():
        section = getattr(run, name)
        more = section if isinstance(section, MoreData) else getattr(section, "data", None)
        if more is not None:
            reading = only(more, ImportOptions) | {"heldout_fraction": 0.0}
            yield f"{name}_data", ImportSettings(**reading, kind=kind)


def _generate(run: RunFile) -> Iterator[Named]:
    if run.generate is None:
        return
    own = only(run.generate, GenerateOptions)
    if run.rounds is None:
        yield "generate", GenerateSettings(**own)
        return
    for turn in range(run.rounds.count):
        share = {"shard": turn, "shards": run.rounds.count} if run.rounds.prompts == "shards" else {}
        yield f"generate_{turn}", GenerateSettings(**own, round=turn, **share)


def _train(run: RunFile) -> Iterator[Named]:
    if run.sft is not None:
        nll = nll_term(1.0, role=COMPLETION["completion"], mean="token_mean")
        yield "sft", TrainSettings(**only(run.sft, TrainOptions), objective=(nll,))
    if run.loss is None:
        return
    facts = {"beta_equivalent": run.loss.beta_equivalent, "standardise_scores": run.loss.standardise_scores}
    yield "train", TrainSettings(**run.train.model_dump(), **facts, objective=run.loss.terms())
    if run.stages and run.stages.control:
        weaker = run.loss.model_copy(update={"beta": run.loss.beta / run.stages.count})
        facts["beta_equivalent"] = weaker.beta_equivalent
        yield "train_control", TrainSettings(**run.train.model_dump(), **facts, objective=weaker.terms())


def _stages(run: RunFile) -> Iterator[Named]:
    if run.stages:
        for index in range(run.stages.count):
            yield f"stage_{index}", StageSettings(by=run.stages.by, index=index, count=run.stages.count)


def _evaluate(run: RunFile, inputs: Mapping[str, Any]) -> EvaluateSettings:
    judge = inputs["judge"].source
    return EvaluateSettings(
        **only(run.evaluate, EvaluateOptions),
        judge_function=function_of(judge) if judge else None,
        judge_is_scorer="scorer" in inputs and _same_function(judge, inputs["scorer"].source),
        beta=run.loss.beta_equivalent if run.loss else 1.0,
    )


def _same_function(judge: str | None, scorer: str) -> bool:
    """Whether both name one function, in one module or in files of equal content."""
    if judge is None or function_of(judge) != function_of(scorer):
        return False
    places = [Path(reference.rpartition(":")[0]) for reference in (judge, scorer)]
    if all(place.suffix == ".py" for place in places):
        return places[0].read_bytes() == places[1].read_bytes()
    return judge == scorer
