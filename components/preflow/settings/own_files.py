"""The functions of the user's own that a run file names: read when it is, so that what does not fit is found first."""

from pathlib import Path
from typing import Any

from preflow.errors import SettingsError
from preflow.methods.page import Method
from preflow.settings.loss import loss_class
from preflow.settings.losses.own import complete
from preflow.settings.own_code import names_a_file, read_function


def read_own_files(content: dict[str, Any], method: Method, folder: Path, where: str) -> dict[str, Any]:
    """The run file's content with what its loss's file says. Raises SettingsError for a loss or a rule that does not fit."""
    loss, rule = named(content, "loss", "name"), named(content, "pairs", "rule")
    if names_a_file(rule):
        _check_rule(rule, folder, where)
    if not names_a_file(loss):
        return content
    return {**content, "loss": complete(content["loss"], folder, loss_class(method.losses[0]), where)}


def named(content: dict[str, Any], section: str, key: str) -> Any:
    """What a section of a run file says under a key, if there is such a section."""
    found = content.get(section)
    return found.get(key) if isinstance(found, dict) else None


def _check_rule(rule: str, folder: Path, where: str) -> None:
    found = read_function(rule, folder, "pairs.rule")
    if len(found.takes) != 2 or found.required:
        raise SettingsError(
            f"{where}: pairs.rule {rule} takes ({', '.join((*found.takes, *found.required))}), expected (scores, order): the "
            "values of a prompt's candidates, and their places in a random order. Change its parameters."
        )
