"""A function in one Python file of the user's, at work: its mistakes are told with the line of the file.

Needs no torch: rules of pairs are the user's own too.
"""

import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from preflow.errors import OwnCodeError, PreflowError

MISTAKES = (Exception, SystemExit)
"""What code of the user's may raise: to leave the process by sys.exit is no answer either."""


def load_function(path: str | Path, function: str, module: str, error: type[PreflowError] = OwnCodeError) -> Any:
    """The function `function` of the file `path`, loaded as `module`. Raises `error` for anything that goes wrong."""
    path = Path(path)
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise error(f"{path}: not a Python file. Expected FILE.py with a function {function!r}.")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except ModuleNotFoundError as missing:
        raise error(
            f"{path}: imports {missing.name!r}, which is not installed. It is shipped as one file: install the library, "
            "or move what it needs from a neighbouring file into it."
        ) from missing
    except MISTAKES as mistake:
        raise error(f"{located(mistake, path)}. Mend the file; `preflow check` loads it too.") from None
    found = getattr(loaded, function, None)
    if not callable(found):
        names = [name for name, value in vars(loaded).items() if callable(value) and not name.startswith("_")]
        raise error(f"{path}: no function {function!r}. Functions there: {', '.join(names) or 'none'}.")
    return found


def guarded(function: Callable[..., Any], path: str | Path) -> Callable[..., Any]:
    """The function with its signature; what it raises is an OwnCodeError with the line of the file `path`."""

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return function(*given, **named)
        except MISTAKES as mistake:
            raise OwnCodeError(f"{located(mistake, Path(path))}. Mend the function.") from None

    return call


def expect_parameters(
    function: Callable[..., Any], names: Sequence[str], where: str, error: type[PreflowError]
) -> None:
    """Raises `error` for a function that cannot be called with the arguments `names`, in this order."""
    if inspect.isclass(function):
        raise error(f"{where}: a class, expected a function of ({', '.join(names)}). Name a function.")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of what is written in C little is known
        return
    try:
        signature.bind(*names)
    except TypeError:
        raise error(
            f"{where}: takes {signature}, expected ({', '.join(names)}). Name another function, or change its parameters."
        ) from None


def source_of(function: Callable[..., Any]) -> Path | None:
    """The file that a function was written in; None for what is no Python function."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Path(code.co_filename) if code else None


def located(error: BaseException, path: Path | None) -> str:
    """FILE line N: what went wrong, with the last line of the file `path` that the error went through or names itself."""
    said = f"{type(error).__name__}: {error}"
    if path is None:
        return said
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = own[-1].lineno if own else getattr(error, "lineno", None)
    return f"{path} line {line}: {said}" if line else f"{path}: {said}"
