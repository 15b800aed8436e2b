"""The catalogue: every module of this package that defines METHOD is a page."""

import importlib
import pkgutil
from functools import cache

import preflow.methods
from preflow.errors import SettingsError, did_you_mean
from preflow.methods.page import Method


@cache
def catalogue() -> dict[str, Method]:
    """All methods by name, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(preflow.methods.__path__))
    modules = [importlib.import_module(f"preflow.methods.{name}") for name in names]
    return {module.METHOD.name: module.METHOD for module in modules if hasattr(module, "METHOD")}


def find_method(name: str) -> Method:
    """The page of a method; a hyphen counts as an underscore. Raises SettingsError with a suggestion."""
    methods = catalogue()
    plain = name.strip().lower().replace("-", "_")
    if plain in methods:
        return methods[plain]
    raise SettingsError(f"unknown method {name!r}.{did_you_mean(plain, methods)} Methods: {', '.join(methods)}.")
