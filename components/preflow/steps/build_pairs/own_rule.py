"""A rule from a file of the user's own: `my_rule(scores, order) -> [(chosen, rejected), ...]`.

`scores` are the values of a prompt's candidates (scores, or mean win rates), `order` their places in a random order; a pair
names two places.
"""

from collections.abc import Sequence
from typing import Any

from preflow.errors import OwnCodeError
from preflow.models.own_code import guarded, load_function
from preflow.settings.pairs import PairsSettings
from preflow.steps.build_pairs.rules import Choice, Row, Rule, Tally, choices, shuffled
from preflow.steps.build_pairs.standing import Place, Standing

MODULE = "preflow_user_rule"


def own_rule(path: str, settings: PairsSettings) -> Rule:
    """The rule that `settings` names, from the file `path`. What it answers is checked; OwnCodeError for what are no pairs."""
    name = settings.rule.rpartition(":")[2]
    function = guarded(load_rule(path, name), path)

    def rule(group: Sequence[Row], standing: Standing, settings: PairsSettings, tally: Tally) -> list[Choice]:
        found = function(list(standing.values), shuffled(group, settings))
        pairs = _pairs(found, len(group), f"{path}: {name}, for prompt {group[0]['prompt_id']},")
        return choices(group, standing, dict.fromkeys(pairs))

    return rule


def load_rule(path: str, name: str) -> Any:
    """The function behind a rule of the user's own. Raises OwnCodeError."""
    return load_function(path, name, MODULE)


def _pairs(found: Any, count: int, where: str) -> list[Place]:
    try:
        pairs = [(int(chosen), int(rejected)) for chosen, rejected in found]
    except (TypeError, ValueError):
        raise OwnCodeError(
            f"{where} returned {found!r:.80}, expected pairs of places. Return [(chosen, rejected), ...]."
        ) from None
    for pair in pairs:
        if pair[0] == pair[1] or not all(0 <= place < count for place in pair):
            raise OwnCodeError(
                f"{where} returned the pair {pair}, expected two different places from 0 to {count - 1}. Mend the function."
            )
    return pairs
