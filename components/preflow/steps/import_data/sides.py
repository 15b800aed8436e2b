"""Which side of the split a prompt is on, and that it is on one side only."""

from preflow.steps.import_data.problems import RowError


class Sides:
    """The user's split where there is one, else by the prompt's hash: rows that are added move no prompt.

    A prompt is held out if the first 8 hexadecimal digits of its id, as a fraction of 16**8, lie below
    `heldout_fraction`; so a larger fraction keeps what was held out before. `watched` says that a user's split may put
    a prompt on both sides.
    """

    def __init__(self, heldout_fraction: float, watched: bool):
        self.heldout_fraction = heldout_fraction
        self._watched = watched
        self._heldout_of: dict[bytes, bool] = {}

    def of(self, prompt_id: str, given: str | None) -> str:
        """The split of a prompt, `given` by the user or by its hash."""
        if given:
            return given
        return "heldout" if int(prompt_id[:8], 16) < self.heldout_fraction * 16**8 else "train"

    def add(self, prompt_id: str, split: str) -> None:
        """Raises RowError for a prompt on both sides: held-out numbers would be worthless. By hash it cannot be."""
        if not self._watched:
            return
        heldout = split == "heldout"
        if self._heldout_of.setdefault(bytes.fromhex(prompt_id), heldout) != heldout:
            found = "a held-out prompt that is also trained on." if heldout else "a prompt that is held out elsewhere."
            raise RowError("prompt_in_both_splits", found, "Remove it from one side, or let the prompt's hash decide.")
