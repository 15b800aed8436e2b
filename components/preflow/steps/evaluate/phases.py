"""One progress for all phases of an evaluation, so that the remaining time is the step's and not a phase's."""

from collections.abc import Callable, Mapping

from preflow.steps.kit import Step

DECODING = 3  # token by token takes a few times as long as all at once; a rough weight, for the remaining time only


class Phases:
    """Phases by name with their work, in sequences read; a sampled sequence counts DECODING times."""

    def __init__(self, step: Step, work: Mapping[str, int]):
        self._step, self._work = step, {name: amount for name, amount in work.items() if amount}
        self._total = sum(self._work.values())
        step.progress(0, self._total or None, "sequences")

    def __getitem__(self, name: str) -> Callable[[int, int], None]:
        """The progress function of a phase: called with (done, total) of its own."""
        before = sum(list(self._work.values())[: list(self._work).index(name)])
        amount = self._work[name]

        def report(done: int, total: int) -> None:
            self._step.progress(before + int(amount * done / max(1, total)), self._total, "sequences", name)

        return report
