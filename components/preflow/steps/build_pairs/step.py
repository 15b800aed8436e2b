"""Pairs from scored completions, with a report of what was left out and why."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from preflow.artifacts.draws import generator
from preflow.artifacts.files import write_json
from preflow.artifacts.ids import pair_id
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS
from preflow.artifacts.prompts import read_prompts
from preflow.errors import ArtifactError, DataError, Problem
from preflow.selection.grouping import by_prompt
from preflow.selection.pairing import RULES
from preflow.settings.pairs import PairsSettings
from preflow.steps.kit import Step

Row = dict[str, Any]


def run(step: Step, *, prompts: str, completions: str, pairs: str, numbers: str) -> None:
    """Write pairs/v1 to `pairs` and the report to `numbers` (JSON). Raises DataError if no pair remains."""
    settings = step.settings(PairsSettings)
    asked, groups = read_prompts(prompts), by_prompt(read_rows(completions, COMPLETIONS))
    tally: Counter[str] = Counter()
    rows = [row for prompt, group in groups.items() for row in _pairs_of(prompt, group, asked, settings, tally)]
    if not rows:
        raise DataError(
            [
                Problem(
                    completions,
                    0,
                    "no_pairs",
                    f"no pair remains ({dict(tally)}).",
                    "Sample more candidates, or lower pairs.min_margin.",
                )
            ]
        )
    write_rows(pairs, PAIRS, rows, {"rule": settings.rule})
    report = {"prompts": len(groups), "pairs": len(rows), **tally, **_margins(rows), **_lengths(rows)}
    write_json(numbers, report, indent=1)
    for name, value in report.items():
        step.fact(name, value)


def _pairs_of(
    prompt: str, group: list[Row], asked: dict[str, list[dict[str, str]]], settings: PairsSettings, tally: Counter[str]
) -> Iterator[Row]:
    if prompt not in asked:
        raise ArtifactError(f"prompt {prompt} is not among the prompts. Expected completions of these prompts.")
    if len(group) < 2:
        tally["prompts_with_one_candidate"] += 1
        return
    order = list(range(len(group)))
    if settings.rule == "first_round":
        generator("pairs", settings.seed, prompt).shuffle(order)
        tally["candidates_left_over"] += len(order) % 2
    for chosen, rejected in RULES[settings.rule]([row["score"] for row in group], order):
        first, second = group[chosen], group[rejected]
        if first["text"] == second["text"]:
            tally["pairs_of_equal_texts"] += 1
        elif first["score"] - second["score"] <= settings.min_margin:
            tally["ties"] += 1
        else:
            yield _pair(prompt, asked[prompt], first, second)


def _pair(prompt: str, messages: list[dict[str, str]], chosen: Row, rejected: Row) -> Row:
    return {
        "pair_id": pair_id(prompt, chosen["completion_id"], rejected["completion_id"]),
        "prompt_id": prompt,
        "prompt": messages,
        "chosen": chosen["text"],
        "rejected": rejected["text"],
        "chosen_id": chosen["completion_id"],
        "rejected_id": rejected["completion_id"],
        "chosen_token_ids": chosen["token_ids"],
        "rejected_token_ids": rejected["token_ids"],
        "chosen_finish": chosen["finish_reason"],
        "rejected_finish": rejected["finish_reason"],
        "chosen_score": chosen["score"],
        "rejected_score": rejected["score"],
        "preference": 1.0,
        "weight": 1.0,
        "source": chosen["source"],
        "split": "train",
    }


def _margins(rows: list[Row]) -> dict[str, float]:
    margins = sorted(row["chosen_score"] - row["rejected_score"] for row in rows)
    places = {"margin_p10": 0.1, "margin_median": 0.5, "margin_p90": 0.9}
    return {name: margins[round(share * (len(margins) - 1))] for name, share in places.items()}


def _lengths(rows: list[Row]) -> dict[str, float]:
    longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in rows)
    return {
        "chosen_longer_share": longer / len(rows),
        "chosen_characters_mean": sum(len(row["chosen"]) for row in rows) / len(rows),
        "rejected_characters_mean": sum(len(row["rejected"]) for row in rows) / len(rows),
    }
