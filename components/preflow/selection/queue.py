"""The queue of recent samples that a new one is rewarded against (Swamy et al. 2024, arXiv 2401.04056, SPO).

The paper's text gives the principle; that the new sample is compared before it enters is this implementation's rule.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class WinRateQueue(Generic[Item]):
    """First in, first out, at most `size` items. `items` (oldest first) is all of its state.

    >>> better = {("a", "b"): 0.75, ("b", "a"): 0.25}
    >>> queue = WinRateQueue(["b", "b"], size=2)
    >>> queue.reward("a", lambda new, old: better.get((new, old), 0.5)), queue.items
    (0.75, ['b', 'a'])
    """

    def __init__(self, items: Sequence[Item], size: int):
        if not 0 < len(items) <= size:
            raise ValueError(f"a queue of size {size} starts with 1 to {size} items, got {len(items)}")
        self.items, self.size = list(items), size

    def reward(self, new: Item, preference: Callable[[Item, Item], float], *, signed: bool = False) -> float:
        """Mean P(new beats old) over the queue as it is, in [0, 1]; then `new` enters and the oldest leaves.

        With `signed`, in the paper's own range [-1, 1]: 2P - 1, so that a copy of the queue's only item earns 0.
        """
        mean = sum(preference(new, old) for old in self.items) / len(self.items)
        self.items = [*self.items, new][-self.size :]
        return 2 * mean - 1 if signed else mean
