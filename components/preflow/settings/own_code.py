"""A function of the user's own, `FILE.py:FUNCTION` in a run file: what it takes is read without running the file."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.errors import SettingsError


@dataclass(frozen=True)
class OwnFunction:
    """`takes` are the names of its positional parameters, `keywords` those of its keyword-only ones, `required` those of
    these without a default, `defaults` what the others have, where that is a plain value."""

    reference: str
    takes: tuple[str, ...]
    keywords: tuple[str, ...]
    required: tuple[str, ...]
    defaults: dict[str, Any]


def names_a_file(reference: Any) -> bool:
    """Whether a loss or rule is one of the user's own: FILE.py:FUNCTION, where ours have plain names."""
    return isinstance(reference, str) and ":" in reference


def read_function(reference: str, folder: Path, what: str) -> OwnFunction:
    """The function behind FILE.py:FUNCTION, whose relative path starts at `folder`. `what` it is for stands in messages.

    Raises SettingsError for a file that is not there or cannot be parsed, and for a function that it does not define.
    """
    place, _, name = reference.rpartition(":")
    if not place.endswith(".py") or not name.isidentifier():
        raise SettingsError(
            f"{what} {reference!r}: expected FILE.py:FUNCTION. Name a Python file and a function in it."
        )
    path = folder / Path(place).expanduser()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{what} {reference!r}: {path} cannot be read ({error}). Expected a Python file in UTF-8; paths start at the run "
            "file's folder. Mend the path."
        ) from None
    except SyntaxError as error:
        raise SettingsError(f"{path} line {error.lineno}: {error.msg}. Expected Python. Mend the file.") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in functions:
        raise SettingsError(
            f"{path}: no function {name!r}, found {', '.join(functions) or 'none'}. Expected `def {name}(...):` on the file's "
            "first level. Mend the name."
        )
    return _described(functions[name], reference, path)


def _described(node: ast.FunctionDef, reference: str, path: Path) -> OwnFunction:
    every = node.args
    if every.vararg or every.kwarg:
        raise SettingsError(
            f"{path} line {node.lineno}: {node.name} takes *args or **kwargs. Expected parameters with names, which say what "
            "it is given. Write them out."
        )
    keywords = {each.arg: default for each, default in zip(every.kwonlyargs, every.kw_defaults, strict=True)}
    return OwnFunction(
        reference,
        takes=tuple(each.arg for each in (*every.posonlyargs, *every.args)),
        keywords=tuple(keywords),
        required=tuple(name for name, default in keywords.items() if default is None),
        defaults={name: value for name, default in keywords.items() for value in _plain(default)},
    )


def _plain(node: ast.expr | None) -> list[Any]:
    """[the value] of an expression that is a number, text, truth value, or a list of such; else nothing."""
    try:
        value = ast.literal_eval(node) if node is not None else None
    except ValueError:
        return []
    return [value] if isinstance(value, bool | int | float | str | list) else []
