"""Whether the rows of all files together are what a run file asks for: what a step would find hours later, or nobody."""

from collections.abc import Iterator, Mapping
from typing import Any

from preflow.artifacts.ids import shard_of
from preflow.steps.import_data.facts import Facts


def lacking(run: Any, facts: Mapping[str, Facts]) -> Iterator[str]:
    """What is missing, each with its fix. `facts` are those of the sections whose rows passed, by name."""
    if (data := facts.get("data")) is None:
        return
    if not data.rows:
        yield "no training rows: all rows are held out. Lower data.heldout_fraction, or add rows."
        return
    yield from _stages(run, data)
    yield from _shards(run, data)
    leaked = data.prompts & facts["evaluation_data"].heldout if "evaluation_data" in facts else set()
    if leaked and run.data.kind != "forget":  # what is forgotten may well be what is measured
        yield (
            f"evaluate: {len(leaked)} of its prompts are trained on, expected others: what is measured on them says nothing. "
            "Remove them from one of the files."
        )
    teacher = facts.get("teacher_data")
    if teacher is not None and not teacher.prompts & data.prompts:
        yield (
            f"teacher: none of its {len(teacher.prompts)} prompts is one of the data's {len(data.prompts)} training prompts. "
            "Expected answers to the same prompts. Name other files."
        )
    if run.loss is not None and run.loss.standardise_scores and data.scores and data.scores[0] == data.scores[1]:
        yield f"data: all scores are {data.scores[0]:g}, expected scores that differ. Name other files."


def _stages(run: Any, data: Facts) -> Iterator[str]:
    if run.stages is None:
        return
    by_source = run.stages.by == "source"
    found, what = (len(data.sources), "sources") if by_source else (data.rows, "pairs")
    if found < run.stages.count:
        fix = "Name the sources (data.columns), or set stages.by to difficulty." if by_source else "Lower stages.count."
        yield f"stages.count is {run.stages.count}, but the data have {found} {what}, expected one per stage or more. {fix}"


def _shards(run: Any, data: Facts) -> Iterator[str]:
    if run.rounds is None or run.generate is None or run.rounds.prompts != "shards":
        return
    filled = {shard_of(prompt, run.rounds.count) for prompt in data.prompts}
    if empty := sorted(set(range(run.rounds.count)) - filled):
        yield (
            f"rounds.count is {run.rounds.count}, but of {len(data.prompts)} training prompts none falls into the share of "
            f"round {empty[0] + 1}; prompts fall into shares by their hash. Add prompts, ask for fewer rounds, or set "
            "rounds.prompts to all."
        )
