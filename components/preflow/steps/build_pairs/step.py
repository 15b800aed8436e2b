"""Pairs (or completions with advantages) from candidates that were scored or judged, with a report of what was left out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import pstdev
from typing import Any

from preflow.artifacts.candidates import read_candidates
from preflow.artifacts.files import write_json
from preflow.artifacts.ids import pair_id
from preflow.artifacts.io import read_rows, read_stamp, write_rows
from preflow.artifacts.kinds import COMPLETIONS, JUDGMENTS, PAIRS
from preflow.artifacts.prompts import read_prompts
from preflow.errors import ArtifactError, DataError, Problem, SettingsError
from preflow.selection.grouping import by_prompt
from preflow.selection.targets import grpo_advantages, rloo_advantages
from preflow.selection.win_rates import ROUNDING, win_rates
from preflow.settings.pairs import MAKES_COMPLETIONS, PairsSettings
from preflow.steps.build_pairs.own_rule import own_rule
from preflow.steps.build_pairs.report import pairs_report
from preflow.steps.build_pairs.rules import Choice, Rule, Tally, choose, preference
from preflow.steps.build_pairs.standing import Standing, standing_of
from preflow.steps.kit import Step

Row = dict[str, Any]
ADVANTAGES = {"group_mean": lambda rates: rates - rates.mean(), "rloo": rloo_advantages, "grpo": grpo_advantages}


@dataclass(frozen=True)
class Group:
    """The candidates of a prompt and what is known about them."""

    prompt_id: str
    messages: list[dict[str, str]]
    rows: list[Row]
    standing: Standing


def run(
    step: Step,
    *,
    prompts: str,
    completions: str,
    pairs: str,
    numbers: str,
    judgments: str | None = None,
    teacher: str | None = None,
    rule_file: str | None = None,
) -> None:
    """Write pairs/v1 (for rule spo completions/v1) to `pairs` and the report to `numbers` (JSON).

    `rule_file` is a Python file with the rule, where it is none of ours. Without `judgments` candidates are compared by their scores. Raises DataError if nothing remains to train on.
    """
    settings, tally = step.settings(PairsSettings), Counter[str]()
    judged, schedule = _judgments(judgments, settings)
    asked, found = read_prompts(prompts), by_prompt(read_candidates(completions, teacher))
    groups = _groups(found, asked, judged, schedule, settings, tally)
    kind, make = (COMPLETIONS, _advantages) if settings.rule in MAKES_COMPLETIONS else (PAIRS, _pairs)
    rows, report = make(groups, settings, tally, own_rule(rule_file, settings) if rule_file else None)
    if not rows:
        message = f"no pair remains ({ {name: count for name, count in tally.items() if count} })."
        fix = "Sample more candidates, or lower pairs.min_margin and the other margins of the pairs section."
        raise DataError([Problem(completions, 0, "no_pairs", message, fix)])
    write_rows(pairs, kind, rows, {"rule": settings.rule})
    report = {"prompts": len(found), kind.name: len(rows), **tally, **report}
    write_json(numbers, report, indent=1)
    for name, value in report.items():
        step.fact(name, value)


def _judgments(path: str | None, settings: PairsSettings) -> tuple[dict[str, list[Row]] | None, str]:
    """(rows by prompt, the schedule that they were made by). Raises SettingsError for a rule that they do not serve."""
    if path is None:
        return None, ""
    rows = read_rows(path, JUDGMENTS, ("prompt_id", "first_id", "second_id", "probability"))
    schedule = str(read_stamp(path).facts.get("schedule", "all"))
    if schedule == "tournament" and settings.rule != "tournament":
        raise SettingsError(
            f"pairs.rule is {settings.rule}, but the judge held tournaments. Expected the rule tournament, or win rates over "
            "all pairs: set judge.schedule to all."
        )
    return by_prompt(rows), schedule


def _groups(
    found: dict[str, list[Row]],
    asked: dict[str, list[dict[str, str]]],
    judged: dict[str, list[Row]] | None,
    schedule: str,
    settings: PairsSettings,
    tally: Tally,
) -> Iterator[Group]:
    for prompt, rows in found.items():
        if prompt not in asked:
            raise ArtifactError(f"prompt {prompt} is not among the prompts. Expected completions of these prompts.")
        if len(rows) < 2:
            tally["prompts_with_one_candidate"] += 1
            continue
        own = None if judged is None else judged.get(prompt, [])
        tally["repeated_candidates"] += len(rows) - len({row["text"] for row in rows})
        yield Group(prompt, asked[prompt], rows, standing_of(rows, own, schedule, settings.rank_by))


def _pairs(
    groups: Iterator[Group], settings: PairsSettings, tally: Tally, rule: Rule | None = None
) -> tuple[list[Row], dict[str, float]]:
    rows, margins = [], []
    for group in groups:
        choices = choose(group.rows, group.standing, settings, tally, rule)
        rates = _win_rates(group.standing)
        rows += [_pair(group, each, rates, settings.labels == "soft") for each in choices]
        margins += [each.margin for each in choices]
        tally["prompts_without_pair"] += not choices
    return rows, pairs_report(rows, margins) if rows else {}


def _win_rates(standing: Standing) -> list[float] | None:
    """Against all candidates, itself included: SPPO's estimate (section 4.3)."""
    return None if standing.preferences is None else win_rates(standing.preferences, include_self=True).tolist()


def _pair(group: Group, pair: Choice, rates: list[float] | None, soft: bool) -> Row:
    chosen, rejected = group.rows[pair.chosen], group.rows[pair.rejected]
    sides = {"chosen": (pair.chosen, chosen), "rejected": (pair.rejected, rejected)}
    row: Row = {
        "pair_id": pair_id(group.prompt_id, chosen["completion_id"], rejected["completion_id"]),
        "prompt_id": group.prompt_id,
        "prompt": group.messages,
        "preference": preference(group.standing, (pair.chosen, pair.rejected)) if soft else 1.0,
        "weight": 1.0,
        "source": pair.source,
        "split": "train",
    }
    for side, (place, candidate) in sides.items():
        row |= {
            side: candidate["text"],
            f"{side}_id": candidate["completion_id"],
            f"{side}_token_ids": candidate["token_ids"],
            f"{side}_finish": candidate["finish_reason"],
            f"{side}_score": group.standing.values[place] if group.standing.values else None,
            f"{side}_win_rate": rates[place] if rates else None,
        }
    return row


def _advantages(
    groups: Iterator[Group], settings: PairsSettings, tally: Tally, rule: Rule | None = None
) -> tuple[list[Row], dict[str, float]]:
    """Every candidate with its mean win rate against the others of its prompt, and how far that is above the usual."""
    rows = []
    for group in groups:
        assert group.standing.preferences is not None, "knock-outs serve one rule only"
        rates = win_rates(group.standing.preferences, include_self=False)
        advantages = ADVANTAGES[settings.advantage](rates)
        tally["prompts_without_winner"] += bool(abs(advantages).max() <= ROUNDING)
        rows += [
            {**row, "prompt": group.messages, "win_rate": rate, "advantage": advantage}
            for row, rate, advantage in zip(group.rows, rates.tolist(), advantages.tolist(), strict=True)
        ]
    if not any(abs(row["advantage"]) > ROUNDING for row in rows):
        return [], {}
    return rows, {"advantage_deviation": pstdev(row["advantage"] for row in rows)}
