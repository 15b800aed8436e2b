"""Labels as people write them: whether a completion is desirable."""

import re
from typing import Any

from preflow.steps.import_data.messages import shown
from preflow.steps.import_data.problems import RowError

GOOD = "1 +1 true t yes y desirable good positive accept accepted acceptable like liked up thumbsup 👍 chosen preferred"
BAD = "0 -1 false f no n undesirable bad negative reject rejected unacceptable dislike disliked down thumbsdown 👎"
MEANINGS = dict.fromkeys(GOOD.split(), True) | dict.fromkeys(BAD.split(), False)
NUMBERS: dict[float, bool] = {1: True, 0: False, -1: False}
SEPARATORS = re.compile(r"[\s_-]+")
SKIN_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")


def label_of(value: Any) -> bool:
    """The label as a truth value. Raises RowError for a word or a number that is none.

    >>> label_of("Thumbs up"), label_of(0), label_of("undesirable")
    (True, False, False)
    """
    if value is None or value == "":
        raise RowError("null", "label is null.", "Fill it in, or remove the row: it says neither good nor bad.")
    if isinstance(value, bool):
        return value
    found = NUMBERS.get(value) if isinstance(value, int | float) else None
    if isinstance(value, str):
        plain = SKIN_TONES.sub("", value.strip().lower())
        found = MEANINGS.get(plain, MEANINGS.get(SEPARATORS.sub("", plain)))
    if found is None:
        number = isinstance(value, int | float)
        expected = (
            "expected true or false (also: 1 or 0, yes or no, good or bad, desirable or undesirable, thumbs up or down)"
        )
        fix = (
            "Import numbers as scores: data.scored."
            if number
            else "Rename the values, or set columns: {label: ...} beside the files."
        )
        raise RowError("unknown_label", f"label is {shown(value)}, {expected}.", fix)
    return found
