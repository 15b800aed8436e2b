"""The base of every settings section: strict, frozen, canonical.

A step receives its section as one canonical JSON string (sorted keys, defaults filled), which is a part of its cache
key. So a float field writes `0` as `0.0`, and nothing that leaves the result alone may be a field of a section.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preflow.artifacts.ids import canonical_json
from preflow.errors import SettingsError, did_you_mean


class Section(BaseModel):
    """A section of the run file. Unknown keys are refused with a suggestion."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """The section as the string that goes into a step's parameters and its cache key."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The section from what `canonical` wrote. Raises SettingsError."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SettingsError(explain(error, cls, cls.__name__)) from None


def setting(default: Any, description: str, *, source: str, **constraints: Any) -> Any:
    """A field with its meaning and the source of its default (paper section, or a short reason)."""
    return Field(default, description=description, json_schema_extra={"source": source}, **constraints)


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """A validation error as lines with the place, the value found and what was expected."""
    errors = error.errors()
    top = {
        (one["loc"], repr(one["input"])) for one in errors if len(one["loc"]) == 1
    }  # sections inherit `seed` from it
    own = [one for one in errors if len(one["loc"]) == 1 or (one["loc"][-1:], repr(one["input"])) not in top]
    return "\n".join(_explain_one(one, model, where) for one in own)


def _explain_one(one: Any, model: type[BaseModel], where: str) -> str:
    path = ".".join(str(part) for part in one["loc"])
    place = f"{where}: {path}" if path else where
    if one["type"] == "extra_forbidden":
        return f"{place}: unknown setting.{_suggestion(one['loc'], model)}"
    if one["type"] == "missing":
        return f"{place}: missing; it has no default. See `preflow init METHOD --full` for its meaning."
    message = EXPECTED.get(one["type"], one["msg"].removeprefix("Value error, "))
    found = "" if isinstance(one["input"], dict) else f"found {one['input']!r}; "
    end = "" if message.endswith(".") else ". Mend the value."
    return f"{place}: {found}{message[0].lower()}{message[1:]}{end}"


SETTINGS = "expected settings, as in {name: value}"
EXPECTED = {
    "model_type": SETTINGS,
    "model_attributes_type": SETTINGS,
    "dict_type": SETTINGS,
    "tuple_type": "expected a list, as in [one, another]",
}
"""What pydantic says in Python's words."""


def _suggestion(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        inner = [kind for kind in _alternatives(field.annotation) if issubclass(kind, BaseModel)] if field else []
        tagged = [
            kind for kind in inner if "name" in kind.model_fields and kind.model_fields["name"].default in location
        ]
        unnamed = [kind for kind in inner if "name" in kind.model_fields and kind.model_fields["name"].is_required()]
        if inner:
            model = (tagged or unnamed[-1:] or inner)[0]  # the last is the most special one
    names = sorted(field.alias or name for name, field in model.model_fields.items())
    return f"{did_you_mean(str(location[-1]), names)} Settings here: {', '.join(names)}."


def _alternatives(annotation: Any) -> list[type]:
    arguments = getattr(annotation, "__args__", None)
    if arguments is None:
        return [annotation, *_kinds_of(annotation)] if isinstance(annotation, type) else []
    return [kind for argument in arguments for kind in _alternatives(argument)]


def _kinds_of(model: type) -> list[type]:
    """Classes made from a class, all the way down."""
    direct: list[type] = model.__subclasses__()
    return [kind for each in direct for kind in (each, *_kinds_of(each))]
