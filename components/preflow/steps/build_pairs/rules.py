"""The rules by which the candidates of one prompt become pairs."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from preflow.artifacts.candidates import TEACHER
from preflow.artifacts.draws import generator
from preflow.selection.pairing import all_pairs, dno_pairs, random_pairs
from preflow.selection.repetition import REPETITIVE, defects
from preflow.selection.tournament import play_tournament
from preflow.selection.win_rates import ROUNDING, winner_loser
from preflow.settings.pairs import PairsSettings
from preflow.steps.build_pairs.standing import Place, Standing

Row = Mapping[str, Any]
Tally = Counter[str]
KINDS = {"S>S": "student_over_student", "S>T": "student_over_teacher", "T>S": "teacher_over_student"}
RUBRIC, WIN_RATES = (5.0, 2.0, 1.0), (0.8, 0.4, 0.2)
"""(smallest positive, a teacher's margin, a student's) of DNO: on its rubric of 1 to 6, and on a scale from 0 to 1."""


class Choice(NamedTuple):
    """A pair by places in the group; `margin` is the lead of the chosen one, `source` says where its sides come from."""

    chosen: int
    rejected: int
    margin: float
    source: str


def choose(
    group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally, rule: "Rule | None" = None
) -> list[Choice]:
    """The pairs of a prompt, by `rule` or the one that the settings name. What is left out is counted in `tally`."""
    found, slack = [], ROUNDING if standing.judged else 0.0
    for each in (rule or RULES[settings.rule])(group, standing, settings, tally):
        if group[each.chosen]["text"] == group[each.rejected]["text"]:
            tally["pairs_of_equal_texts"] += 1
        elif each.margin <= settings.min_margin + slack:
            tally["ties"] += 1
        else:
            found.append(each)
    return found


def choices(group: Sequence[Row], standing: Standing, pairs: Iterable[Place]) -> list[Choice]:
    """Pairs of places with their margins."""
    return [Choice(*pair, _margin(standing, pair), group[pair[0]]["source"]) for pair in pairs]


def _margin(standing: Standing, pair: Place) -> float:
    """The lead of the chosen one: in values, or P(it wins) - P(it loses) of a judged match."""
    if standing.matches is None:
        return standing.values[pair[0]] - standing.values[pair[1]]
    return _lead(standing, pair)


def _met(group: Sequence[Row], standing: Standing, pairs: Iterable[Place]) -> list[Choice]:
    """Pairs of places with what is known about these two as their margins, whatever they are worth among all."""
    return [Choice(*pair, _lead(standing, pair), group[pair[0]]["source"]) for pair in pairs]


def _lead(standing: Standing, pair: Place) -> float:
    """P(the chosen one wins) - P(it loses)."""
    return 2 * preference(standing, pair) - 1


def preference(standing: Standing, pair: Place) -> float:
    """P(the chosen one beats the rejected one), as far as it is known."""
    if standing.matches is not None:
        return standing.matches[pair] if pair in standing.matches else 1 - standing.matches[pair[::-1]]
    assert standing.preferences is not None, "all but a knock-out has a matrix"
    return float(standing.preferences[pair])


def _first_round(group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally) -> list[Choice]:
    """Neighbours of a shuffle, each pair by what is known about these two: where a ranker judged them, by its word
    (RSO, section 3.3)."""
    tally["candidates_left_over"] += len(group) % 2
    order = shuffled(group, settings)
    met = zip(order[::2], order[1::2], strict=False)
    pairs = [each if preference(standing, each) >= 0.5 else each[::-1] for each in met]
    return _met(group, standing, pairs) if standing.judged else choices(group, standing, pairs)


def _best_worst(group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally) -> list[Choice]:
    found = winner_loser(list(standing.values))
    tally["ties"] += found is None
    return choices(group, standing, [found] if found else [])


def _tournament(group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally) -> list[Choice]:
    if standing.matches is not None:
        pairs = [pair if wins >= 0.5 else pair[::-1] for pair, wins in standing.matches.items()]
        return choices(group, standing, pairs)
    order = shuffled(group, settings)
    pairs = play_tournament(order, lambda first, second: preference(standing, (first, second)) >= 0.5)
    return _met(group, standing, pairs)


def _random(group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally) -> list[Choice]:
    random = generator("pairs", settings.seed, group[0]["prompt_id"])
    pairs = random_pairs(standing.values, range(len(group)), settings.num_pairs or len(group), random)
    return choices(group, standing, pairs)


def _all(group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally) -> list[Choice]:
    return choices(group, standing, all_pairs(standing.values, range(len(group)), min_margin=-1.0))


def _dno(group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally) -> list[Choice]:
    teacher = next((place for place, row in enumerate(group) if row["source"] == TEACHER), None)
    found = defects(
        [row["text"] for row in group],
        [row["finish_reason"] for row in group],
        max_repeated_share=settings.max_repeated_share,
    )
    flagged = [REPETITIVE in flags for flags in found]
    tally["flagged_repetitive"] += sum(flagged)
    positive, of_teacher, of_student = _thresholds(settings, standing.judged)
    lowest = min(0.0, *standing.values)
    pairs = dno_pairs(
        standing.values,
        flagged,
        teacher,
        min_positive_score=positive,
        teacher_margin=of_teacher,
        student_margin=of_student,
        flagged_score=lowest,
    )
    seen = [lowest if bad else value for bad, value in zip(flagged, standing.values, strict=True)]
    return [
        Choice(each.chosen, each.rejected, seen[each.chosen] - seen[each.rejected], KINDS[each.kind]) for each in pairs
    ]


def _thresholds(settings: PairsSettings, judged: bool) -> tuple[float, ...]:
    """Smallest positive and margins. Win rates of the same wins differ in their last digits, so they get some slack."""
    own = settings.min_positive, settings.teacher_margin, settings.student_margin
    usual, slack = (WIN_RATES, ROUNDING) if judged else (RUBRIC, 0.0)
    return tuple((default if value is None else value) - slack for value, default in zip(own, usual, strict=True))


def shuffled(group: Sequence[Row], settings: PairsSettings) -> list[int]:
    """The candidates' places in a random order, which hangs on the seed and the prompt alone."""
    order = list(range(len(group)))
    generator("pairs", settings.seed, group[0]["prompt_id"]).shuffle(order)
    return order


Rule = Callable[[Sequence[Row], Standing, PairsSettings, Tally], list[Choice]]
RULES: dict[str, Rule] = {
    "first_round": _first_round,
    "best_worst": _best_worst,
    "sppo": _best_worst,
    "tournament": _tournament,
    "random": _random,
    "all_above_margin": _all,
    "dno": _dno,
}
