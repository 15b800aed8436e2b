"""Questions to a judge: which pairs of a prompt's candidates are compared, in which order their texts are shown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any, NamedTuple

from preflow.artifacts.draws import generator
from preflow.models.judges import Judge, Verdict
from preflow.selection.tournament import Tournament
from preflow.settings.judge import JudgeSettings

Row = dict[str, Any]
Groups = dict[str, list[Row]]
Prompts = dict[str, list[dict[str, str]]]


class Match(NamedTuple):
    """Two candidates of a prompt, by their places in its group."""

    prompt: str
    first: int
    second: int

    @property
    def swapped(self) -> "Match":
        return Match(self.prompt, self.second, self.first)


@dataclass
class Tally:
    """Of the questions so far: how often the first place won, how many were undecided, how often the order decided."""

    questions: int = 0
    first_wins: float = 0.0
    ties: int = 0
    both_orders: int = 0
    flips: int = 0
    equal_texts: int = 0

    def facts(self) -> dict[str, float]:
        asked = max(1, self.questions)
        found = {"questions": self.questions, "first_wins_share": self.first_wins / asked}
        found |= {"tie_share": self.ties / asked, "equal_texts": self.equal_texts}
        return found | ({"order_flip_rate": self.flips / self.both_orders} if self.both_orders else {})


@dataclass
class Asking:
    """Asks `judge` about candidates and hands every answered question to `write` as a row of judgments/v1."""

    judge: Judge
    settings: JudgeSettings
    prompts: Prompts
    groups: Groups
    write: Callable[[Row], None]
    progress: Callable[[int], None]
    tally: Tally = field(default_factory=Tally)

    def ask(self, matches: Iterable[Match]) -> list[float]:
        """P(first beats second) of every match, the mean over both orders where both are asked."""
        orders, found = 2 if self.settings.both_orders else 1, []
        source = iter(matches)
        while some := list(islice(source, max(1, self.settings.batch_size // orders))):
            asked = [each for match in some for each in ((match, match.swapped) if orders == 2 else (match,))]
            answers = self._answers(asked)
            for place in range(0, len(answers), orders):
                found.append(self._decide(answers[place : place + orders]))
            self.progress(self.tally.questions)
        return found

    def _answers(self, questions: Sequence[Match]) -> list[float]:
        """P(first wins) of ordered questions. Equal texts are not asked about: either wins half of the time."""
        texts = [tuple(self.groups[q.prompt][place]["text"] for place in (q.first, q.second)) for q in questions]
        real = [place for place, (first, second) in enumerate(texts) if first != second]
        answered = self.judge.verdicts(
            [self.prompts[questions[place].prompt] for place in real],
            [texts[place][0] for place in real],
            [texts[place][1] for place in real],
        )
        verdicts = [Verdict(0.5)] * len(questions)
        for place, verdict in zip(real, answered, strict=True):
            verdicts[place] = verdict
        for question, verdict in zip(questions, verdicts, strict=True):
            self._record(question, verdict)
        self.tally.equal_texts += len(questions) - len(real)
        return [verdict.probability for verdict in verdicts]

    def _record(self, question: Match, verdict: Verdict) -> None:
        group = self.groups[question.prompt]
        self.write(
            {
                "prompt_id": question.prompt,
                "first_id": group[question.first]["completion_id"],
                "second_id": group[question.second]["completion_id"],
                "probability": verdict.probability,
                "judge": self.judge.name,
                "version": self.judge.version,
                "raw": verdict.raw,
            }
        )
        self.tally.questions += 1
        self.tally.first_wins += verdict.probability
        self.tally.ties += verdict.probability == 0.5

    def _decide(self, answers: Sequence[float]) -> float:
        if len(answers) == 1:
            return answers[0]
        there, back = answers
        self.tally.both_orders += 1
        self.tally.flips += (there - 0.5) * (back - 0.5) > 0
        return (there + 1 - back) / 2


def count_questions(groups: Groups, settings: JudgeSettings) -> int:
    """How many ordered questions a schedule asks in all."""
    sizes = [len(group) for group in groups.values()]
    matches = sum(k * (k - 1) // 2 for k in sizes) if settings.schedule == "all" else sum(k - 1 for k in sizes)
    return matches * (2 if settings.both_orders else 1)


def all_matches(groups: Groups, settings: JudgeSettings) -> Iterator[Match]:
    """Every pair of every prompt's candidates, prompt by prompt. Who comes first is drawn: where one order is asked, no
    candidate has the better place by its number."""
    for prompt, group in groups.items():
        coins = generator("judge", settings.seed, prompt)
        for first, second in combinations(range(len(group)), 2):
            match = Match(prompt, first, second)
            yield match if coins.random() < 0.5 else match.swapped


def baseline_matches(groups: Groups, settings: JudgeSettings) -> Iterator[Match]:
    """Every candidate against one of its prompt's, drawn at random (RSO section 3.2)."""
    for prompt, group in groups.items():
        random = generator("judge", settings.seed, prompt)
        baseline = int(random.integers(len(group)))
        for other in range(len(group)):
            if other != baseline:
                match = Match(prompt, other, baseline)
                yield match if random.random() < 0.5 else match.swapped


def play_tournaments(asking: Asking) -> None:
    """A knock-out per prompt, from a random order; the matches of a round are judged together. A tie goes to the first."""
    cups = {}
    for prompt, group in asking.groups.items():
        order = list(range(len(group)))
        generator("judge", asking.settings.seed, prompt).shuffle(order)
        cups[prompt] = Tournament(order)
    while matches := [Match(prompt, *match) for prompt, cup in cups.items() for match in cup.matches]:
        found = iter(asking.ask(matches))
        for cup in cups.values():
            if cup.matches:
                cup.play([next(found) >= 0.5 for _ in cup.matches])
