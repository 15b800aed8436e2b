"""What each step receives: the sections of a run file, completed, as pipeline parameters by name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflow.artifacts.ids import content_id
from preflow.methods.catalogue import find_method
from preflow.settings.convert import ConvertOptions, ConvertSettings
from preflow.settings.data import ImportOptions, ImportSettings
from preflow.settings.evaluate import EvaluateOptions, EvaluateSettings
from preflow.settings.generate import GenerateOptions, GenerateSettings
from preflow.settings.history import HistorySettings
from preflow.settings.judge import JudgeOptions, JudgeSettings
from preflow.settings.more_data import MoreData
from preflow.settings.objective import COMPLETION, nll_term
from preflow.settings.reference import ReferenceSettings
from preflow.settings.reward_model import RewardModelSettings
from preflow.settings.rl import RLOptions, RLSettings
from preflow.settings.runfile import MORE_DATA, RunFile
from preflow.settings.score import of_reward_model
from preflow.settings.section import Section
from preflow.settings.select import SelectSettings
from preflow.settings.stages import StageSettings
from preflow.settings.train import TrainOptions, TrainSettings
from preflow.settings.unlearning import UnlearningOptions

AS_THEY_ARE = ("rejection",)
"""Sections that their step receives as the run file has them."""
IMPORTED_AS = {"forget": "sft"}
"""Kinds of data that are read as another kind is."""
MEASURED = ("reward_model",)
"""Sections whose own rows are partly held out: a reward model's accuracy is told."""

LEARNED = ("sft", "targets")
"""Sections whose texts are learned by heart."""

Named = tuple[str, Section]


def make_sections(run: RunFile, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Canonical JSON per pipeline parameter. `inputs` are the plan's, by name."""
    found: list[Named] = [*_data(run, inputs), *_more_data(run), *_generate(run), *_train(run), *_stages(run)]
    found += [*_convert(run), *_unlearning(run)]
    found += [(name, getattr(run, name)) for name in AS_THEY_ARE if getattr(run, name, None) is not None]
    found += [("pairs", run.pairs.settings())] if run.pairs else []
    found += [*_rewards(run), *_judge(run), *_rounds(run)]
    measured = _evaluate(run, inputs)
    found += [("evaluate", measured), *_between_rounds(run, measured)]
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
    answer = run.score.answer if run.score else "optional"
    yield "data", ImportSettings(**reading, kind=IMPORTED_AS.get(run.data.kind, run.data.kind), answer=answer)


def _more_data(run: RunFile) -> Iterator[Named]:
    """Rows beside the data are trained on, but for what something is measured on, and for texts that are learned by heart:
    of these, the held-out prompts' own are left out, which the same split finds."""
    split = 0.0 if _has_own_heldout(run) else run.data.heldout_fraction
    for name, kind in MORE_DATA.items():
        section = getattr(run, name)
        more = section if isinstance(section, MoreData) else getattr(section, "data", None)
        if more is not None:
            fraction = {} if name in MEASURED else {"heldout_fraction": split if name in LEARNED else 0.0}
            yield f"{name}_data", ImportSettings(**only(more, ImportOptions) | fraction, kind=kind)


def _has_own_heldout(run: RunFile) -> bool:
    """Whether what is held out comes from somewhere else than a split by prompt."""
    return bool(run.data.heldout or run.data.split_column or run.evaluate.pairs or run.evaluate.prompts)


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
        yield "sft", TrainSettings(**only(run.sft, TrainOptions), objective=(nll,), beta_equivalent=None)
    if run.loss is None:
        return
    options = only(run.train, TrainOptions)
    facts = {"beta_equivalent": run.loss.beta_equivalent, "standardise_scores": run.loss.standardise_scores}
    if run.loss.values:
        facts["value_learning_rate"] = run.train.value_learning_rate or run.train.learning_rate
    yield "train", TrainSettings(**options, **facts, objective=run.loss.terms())
    if run.reference is not None:
        yield "reference", ReferenceSettings(**only(run.reference, ReferenceSettings))
    if run.stages and run.stages.control:
        weaker = run.loss.weaker(run.stages.count)
        facts["beta_equivalent"] = weaker.beta_equivalent
        yield "train_control", TrainSettings(**options, **facts, objective=weaker.terms())


def _convert(run: RunFile) -> Iterator[Named]:
    """Rows of another kind become the method's own."""
    if run.convert is not None:
        yield "convert", ConvertSettings(**only(run.convert, ConvertOptions), to=find_method(run.method).data[0])


def _unlearning(run: RunFile) -> Iterator[Named]:
    if run.unlearning is None:
        return
    yield "unlearning", UnlearningOptions(**only(run.unlearning, UnlearningOptions))
    for name in run.unlearning.files:
        yield f"unlearning_{name}_data", ImportSettings(kind="questions", heldout_fraction=0.0)
    if run.unlearning.retain_model is not None:
        nll = nll_term(1.0, role=COMPLETION["completion"], mean="token_mean")
        options = only(run.unlearning.retain_model, TrainOptions)
        yield "retain_model", TrainSettings(**options, objective=(nll,), beta_equivalent=None)


def _rewards(run: RunFile) -> Iterator[Named]:
    """Who scores what the policy writes: in a step of its own, or inside of reinforcement learning."""
    if run.reward_model is not None:
        options, head = only(run.reward_model, TrainOptions), run.reward_model.head
        objective = run.reward_model.terms()
        yield "reward_model", RewardModelSettings(**options, objective=objective, head=head, beta_equivalent=None)
    score = run.score.settings() if run.score else of_reward_model(run.dtype)
    if run.rl is not None:
        yield "rl", RLSettings(**only(run.rl, RLOptions), score=score)
    elif run.score is not None:
        yield "score", score


def _judge(run: RunFile) -> Iterator[Named]:
    if run.judge is not None:
        own = {"kind": run.judge.kind} | (
            {"function": function_of(run.judge.judge)} if run.judge.kind == "function" else {}
        )
        yield "judge", JudgeSettings(**only(run.judge, JudgeOptions), **own)


def _rounds(run: RunFile) -> Iterator[Named]:
    """Pairs of earlier rounds that a round trains on again."""
    if run.rounds is None or not run.rounds.history_share or run.pairs is None:
        return
    share = {"newest_share": run.rounds.history_share, "decay": run.rounds.history_decay, "seed": run.pairs.seed}
    for turn in range(1, run.rounds.count):
        yield f"history_{turn}", HistorySettings(round=turn, **share)


def _between_rounds(run: RunFile, measured: EvaluateSettings) -> Iterator[Named]:
    """By what rounds are compared: an evaluation with draws of its own, so that the last one is not of the luckiest."""
    if run.rounds is not None and run.rounds.keep == "best" and run.rounds.count > 1:
        update = {"seed": int(content_id("rounds", measured.seed)[:12], 16), "kl_samples_per_prompt": 0}
        yield "evaluate_round", measured.model_copy(update=update)
        yield "select", SelectSettings(metric=run.rounds.metric)


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
        beta=_strength(run),
    )


def _strength(run: RunFile) -> float:
    """What an implicit reward is multiplied with: the loss's own beta, or the KL penalty's; 1 where there is none."""
    own = run.loss.beta_equivalent if run.loss is not None else run.rl.beta if run.rl else None
    return float(own or 1.0)


def _same_function(judge: str | None, scorer: str | None) -> bool:
    """Whether both name one function, in one module or in files of equal content."""
    if judge is None or scorer is None or function_of(judge) != function_of(scorer):
        return False
    places = [Path(reference.rpartition(":")[0]) for reference in (judge, scorer)]
    if all(place.suffix == ".py" for place in places):
        return places[0].read_bytes() == places[1].read_bytes()
    return judge == scorer
