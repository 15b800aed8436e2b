"""A loss from a file of the user's own: loaded, called, and what it returns looked at."""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from preflow.errors import OwnCodeError
from preflow.losses.coupled import Coupled
from preflow.models.own_code import guarded, load_function
from preflow.settings.train import Term

MODULE = "preflow_user_loss"


def own_loss(term: Term, path: str) -> Callable[..., Any]:
    """The loss that `term` names, from the file `path`; what is no loss [B] raises OwnCodeError."""
    name = term.loss.rpartition(":")[2]
    function = guarded(load_function(path, name, MODULE), path)

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        found = function(*given, **named)
        size = next(len(each) for each in given if isinstance(each, Tensor))
        _check(found, size, term.coupled, f"{path}: {name}")
        return found

    return call


def _check(found: Any, size: int, coupled: bool, where: str) -> None:
    if isinstance(found, Coupled) and not coupled:
        raise OwnCodeError(f"{where} returned a Coupled, expected losses [B]. Set loss.coupled: true.")
    losses = found.losses if isinstance(found, Coupled) else found
    if not isinstance(losses, Tensor):
        raise OwnCodeError(
            f"{where} returned {type(found).__name__}, expected a tensor [B]. Return one loss per example."
        )
    if losses.shape != (size,):
        raise OwnCodeError(
            f"{where} returned a tensor of shape {tuple(losses.shape)}, expected ({size},): one loss per example. Leave the "
            "mean to the training, which takes it over the whole optimizer batch."
        )
