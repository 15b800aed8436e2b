"""The loss section: a name, the keyword arguments of that loss, and the weights of the terms beside it.

Every section in `preflow.settings.losses` is a loss that a run file can name; a file there is all that a new one needs.
Steps never import this file: what they receive is the loss's dotted name and its arguments, so that another loss's page
changes nobody's cache key.
"""

import functools
import importlib
import operator
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any, Literal, get_origin

from pydantic import Field, SerializeAsAny, TypeAdapter, WrapValidator

import preflow.settings.losses
from preflow.settings.losses.own import FileLoss
from preflow.settings.objective import LossSection
from preflow.settings.own_code import names_a_file


def _sections() -> Iterator[type[LossSection]]:
    """The losses of every module, in the order in which they stand there."""
    for each in pkgutil.iter_modules(preflow.settings.losses.__path__):
        yield from _defined_in(importlib.import_module(f"{preflow.settings.losses.__name__}.{each.name}"))


def _defined_in(module: ModuleType) -> Iterator[type[LossSection]]:
    for value in vars(module).values():
        own = isinstance(value, type) and issubclass(value, LossSection) and value.__module__ == module.__name__
        if own and get_origin(value.model_fields["name"].annotation) is Literal:  # a fixed name, not a base or a file's
            yield value


LOSSES = tuple(_sections())
_ANY_OF_OURS: Any = Annotated[functools.reduce(operator.or_, LOSSES), Field(discriminator="name")]
_OURS: TypeAdapter[Any] = TypeAdapter(_ANY_OF_OURS)
_OWN = TypeAdapter(FileLoss)


def _section(value: Any, handler: Any) -> Any:
    """The section of a loss of ours, by its name, or of one that is in a file of the user's."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return (_OWN if names_a_file(name) else _OURS).validate_python(value)


LossSettings = Annotated[SerializeAsAny[LossSection], WrapValidator(_section)]


def loss_names() -> list[str]:
    """Names that `loss: {name: ...}` takes."""
    return [model.model_fields["name"].default for model in LOSSES]


def loss_class(name: str) -> type[LossSection]:
    """The section of a loss of ours."""
    return next(model for model in LOSSES if model.model_fields["name"].default == name)


def loss_function(loss: LossSection) -> str:
    """`module:function` of a loss section."""
    return loss.function


def loss_arguments(loss: LossSection) -> dict[str, Any]:
    """The keyword arguments that the loss function is called with."""
    return loss.keyword_arguments()
