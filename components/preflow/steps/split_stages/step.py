"""The part of the pairs that a stage of stepwise training sees: easy ones first, as the start model finds them.

Every stage sorts all pairs by the same numbers, so the parts are disjoint and together they are the data.
"""

from collections.abc import Sequence

from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import PAIRS, SEQUENCE_LOGPS
from preflow.errors import ArtifactError, DataError, Problem
from preflow.selection.stages import (
    equal_stages,
    gamma,
    gamma_per_token,
    source_accuracies,
    source_stages,
    sources_easy_to_hard,
)
from preflow.settings.stages import StageSettings
from preflow.steps.kit import Step
from preflow.text.tokenizer import Tokenizer
from preflow.training.streams import Stream, pairs_stream

NO_SOURCE = "(no source)"


def run(step: Step, *, data: str, logps: str, tokenizer: str, part: str) -> None:
    """Write the pairs of the stage `index` to `part`. Raises DataError where there are too few pairs or sources to cut."""
    settings = step.settings(StageSettings)
    contract = Tokenizer.load(tokenizer)
    stream = pairs_stream(read_rows(data, PAIRS), contract, lambda done: step.progress(done, None, "rows tokenized"))
    known = _logps(logps, stream)
    sides = [[known[stream.store.ids[number]] for number in stream.roles[side]] for side in ("chosen", "rejected")]
    margins = [gamma(chosen[0], rejected[0]) for chosen, rejected in zip(*sides, strict=True)]
    if settings.by == "source":
        stages = _by_source(step, data, margins, settings.count)
    else:
        easiness = [gamma_per_token(*chosen, *rejected) for chosen, rejected in zip(*sides, strict=True)]
        if len(easiness) < settings.count:
            raise DataError([_too_few(data, f"{len(easiness)} pairs", settings.count)])
        stages = equal_stages(easiness, settings.count)
    kept = (row for row, stage in zip(read_rows(data, PAIRS), stages, strict=True) if stage == settings.index)
    step.fact("pairs", write_rows(part, PAIRS, kept, {"stage": settings.index, "stages": settings.count}))
    own = [margin for margin, stage in zip(margins, stages, strict=True) if stage == settings.index]
    step.fact("mean_margin", sum(own) / len(own))
    step.fact("ranked_right", sum(margin > 0 for margin in own) / len(own))


def _logps(path: str, stream: Stream) -> dict[str, tuple[float, int]]:
    """sequence_id -> (nats, completion tokens), of the start model."""
    columns = ("sequence_id", "logp", "num_tokens")
    known = {row["sequence_id"]: (row["logp"], row["num_tokens"]) for row in read_rows(path, SEQUENCE_LOGPS, columns)}
    missing = [identity for identity in stream.store.ids if identity not in known]
    if missing:
        raise ArtifactError(
            f"{path}: no log-prob for {len(missing)} of {len(stream.store)} sequences (first {missing[0]}). Expected those of "
            "the same data; run reference_logps on it."
        )
    return known


def _by_source(step: Step, data: str, margins: Sequence[float], count: int) -> list[int]:
    """The stage of every pair: that of its source."""
    named = [row["source"] or NO_SOURCE for row in read_rows(data, PAIRS, ("source",))]
    by_source: dict[str, list[float]] = {}
    for source, margin in zip(named, margins, strict=True):
        by_source.setdefault(source, []).append(margin)
    if len(by_source) < count:
        raise DataError([_too_few(data, f"{len(by_source)} sources", count)])
    ordered = sources_easy_to_hard(by_source)
    for source, share in source_accuracies(by_source).items():
        step.log(f"{source}: {len(by_source[source])} pairs, {share:.1%} ranked right by the start model")
    stage_of = dict(zip(ordered, source_stages(len(ordered), count), strict=True))
    step.fact("sources", {source: stage_of[source] for source in ordered})
    return [stage_of[source] for source in named]


def _too_few(data: str, found: str, count: int) -> Problem:
    fix = "Name the pairs' sources (data.columns), ask for fewer stages (stages.count), or set stages.by: difficulty."
    return Problem(data, 0, "too_few", f"{found}, expected at least {count}, one per stage.", fix)
