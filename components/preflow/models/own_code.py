"""A function in one Python file of the user's, at work: its mistakes are told with the line of the file.

Needs no torch: rules of pairs are the user's own too.
"""

import functools
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflow.errors import OwnCodeError, PreflowError


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
        ) from None
    except (Exception, SystemExit) as mistake:
        raise error(f"{path}: {with_line(mistake, path)}. Mend the file; `preflow check` loads it too.") from None
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
        except Exception as mistake:
            line = line_of(mistake, Path(path))
            place = f"{path} line {line}" if line else str(path)
            raise OwnCodeError(f"{place}: {type(mistake).__name__}: {mistake}. Mend the function.") from None

    return call


def with_line(error: BaseException, path: Path | None) -> str:
    """The error with the last line of the user's own file."""
    own, line = _frames_in(error, path), line_of(error, path)
    place = f" (line {line} of {Path(own[-1].filename).name if own else path})" if line else ""
    return f"{type(error).__name__}: {error}{place}"


def line_of(error: BaseException, path: Path | None) -> int | None:
    """The last line of the file `path` (of any, without) that the error went through, or that it says itself."""
    own = _frames_in(error, path)
    line: int | None = own[-1].lineno if own else getattr(error, "lineno", None)
    return line


def _frames_in(error: BaseException, path: Path | None) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if path is None or frame.filename == str(path)]
