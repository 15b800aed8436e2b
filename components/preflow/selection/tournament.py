"""Tournament ranking: winners go on, and every match is a pair.

Zhao et al. 2023, arXiv 2305.10425 (SLiC-HF, sample and rank): of candidates 1 to 4, compare (1, 2) and (3, 4), then the
winners. Liu et al. 2024, arXiv 2309.06657 (RSO, section 3.3, tournament-rank). k candidates cost k - 1 comparisons and
give k - 1 pairs. Neither paper says what an odd size does: here the last one has a bye, and stays last.
"""

from collections.abc import Callable, Sequence

IndexPair = tuple[int, int]


class Tournament:
    """The tournament of one prompt, round by round, so that the matches of many prompts are judged together.

    `pairs` are (chosen, rejected), in the order in which they were played.

    >>> cup = Tournament([0, 1, 2])
    >>> cup.matches
    [(0, 1)]
    >>> cup.play([False])
    >>> cup.matches
    [(1, 2)]
    >>> cup.play([True])
    >>> cup.pairs, cup.matches, cup.winner
    ([(1, 0), (1, 2)], [], 1)
    """

    def __init__(self, order: Sequence[int]):
        self.standing = list(order)
        self.pairs: list[IndexPair] = []

    @property
    def matches(self) -> list[IndexPair]:
        """This round's (first, second): neighbours of those still standing. None once the tournament is over."""
        return list(zip(self.standing[::2], self.standing[1::2], strict=False))

    def play(self, first_wins: Sequence[bool]) -> None:
        """Enter the results of this round's matches, in their order."""
        played = [
            (first, second) if won else (second, first)
            for (first, second), won in zip(self.matches, first_wins, strict=True)
        ]
        bye = self.standing[2 * len(played) :]
        self.pairs += played
        self.standing = [chosen for chosen, _ in played] + bye

    @property
    def winner(self) -> int:
        """Who is left at the end."""
        assert len(self.standing) == 1, "the tournament is not over"
        return self.standing[0]


def play_tournament(order: Sequence[int], first_wins: Callable[[int, int], bool]) -> list[IndexPair]:
    """All pairs (chosen, rejected) of a tournament whose matches `first_wins(first, second)` decides."""
    cup = Tournament(order)
    while matches := cup.matches:
        cup.play([first_wins(first, second) for first, second in matches])
    return cup.pairs


def tournament(scores: Sequence[float], order: Sequence[int]) -> list[IndexPair]:
    """The tournament where the higher score wins a match, among equals the first. `order` should be a shuffle.

    >>> tournament([0.5, 0.4, 0.3, 0.2, 0.9], [0, 1, 2, 3, 4])
    [(0, 1), (2, 3), (0, 2), (4, 0)]
    """
    return play_tournament(order, lambda first, second: scores[first] >= scores[second])
