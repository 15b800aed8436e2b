"""The digest of the code that a step can reach: a part of its cache key.

The static import closure is followed with `ast` (imports inside functions included), parents' package files are added,
comments and docstrings do not count. Standard library only: this runs at every submission and at the start of every step.
"""

import ast
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "preflow"
NAMED_MODULE = re.compile(r"^(preflow(?:\.\w+)+)(?::\w+)?$")


@dataclass(frozen=True)
class CodeDigest:
    """`modules` maps each reached module to the digest of its code; `foreign` are the top names imported from elsewhere."""

    digest: str
    modules: dict[str, str]
    foreign: tuple[str, ...]


def step_roots(step: str, settings: str, files: Iterable[str] = ()) -> list[str]:
    """Where the code of a step starts: its work, the step kit, the modules that its settings name, and those of ours that
    the user's own Python files among its inputs import. Raises SyntaxError for such a file."""
    own = [name for path in files if path.endswith(".py") for name in _ours_in(path)]
    return [f"{PACKAGE}.steps.{step}.step", f"{PACKAGE}.steps.kit", *modules_named_in(settings), *own]


def _ours_in(path: str) -> list[str]:
    """Modules of ours that a single file of the user's imports."""
    if not Path(path).is_file():
        return []
    ours, _ = _imports(ast.parse(Path(path).read_bytes()), "user", False)
    return sorted(name for name in ours if _source(name) is not None)


def modules_named_in(settings: str) -> list[str]:
    """Modules of ours that stand as values (`preflow.losses.dpo:dpo`) in a settings string."""
    found = (NAMED_MODULE.match(value) for value in _strings(json.loads(settings)))
    return sorted({match.group(1) for match in found if match})


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def code_digest(roots: Sequence[str]) -> CodeDigest:
    """The digest over all modules that `roots` reach. Raises ModuleNotFoundError for a root that does not exist."""
    todo = list(roots)
    modules: dict[str, str] = {}
    foreign: set[str] = set()
    for root in roots:
        if _source(root) is None:
            raise ModuleNotFoundError(f"no module {root}; was a step or a loss renamed?")
    while todo:
        name = todo.pop()
        path = _source(name)
        if name in modules or path is None:
            continue
        parsed = _parse(str(path), path.stat().st_mtime_ns, name, path.name == "__init__.py")
        modules[name] = parsed[0]
        foreign |= parsed[2]
        todo += [*parsed[1], *_parents(name)]
    text = json.dumps(sorted(modules.items()))
    return CodeDigest(hashlib.sha256(text.encode()).hexdigest()[:12], modules, tuple(sorted(foreign)))


def module_digest(name: str) -> str | None:
    """The digest of one module of ours as it is now; None if it is gone."""
    path = _source(name)
    return _parse(str(path), path.stat().st_mtime_ns, name, path.name == "__init__.py")[0] if path else None


def _source(module: str) -> Path | None:
    """The file of a module of ours, found without importing it."""
    top = importlib.util.find_spec(PACKAGE)
    if top is None or not top.submodule_search_locations:
        return None
    base = Path(next(iter(top.submodule_search_locations))).joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


@cache
def _parse(path: str, mtime: int, name: str, is_package: bool) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """(code digest, names of ours that are imported, foreign top names) of a file in the state `mtime`."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    ours, foreign = _imports(tree, name, is_package)
    return (
        hashlib.sha256(ast.unparse(_without_docstrings(tree)).encode()).hexdigest(),
        tuple(sorted(ours)),
        frozenset(foreign),
    )


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _imports(tree: ast.Module, name: str, is_package: bool) -> tuple[set[str], set[str]]:
    ours: set[str] = set()
    foreign: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, name, is_package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for full in names:
            top = full.partition(".")[0]
            if top == PACKAGE:
                ours.add(full)
            elif top not in sys.stdlib_module_names:
                foreign.add(top)
    return ours, foreign


def _absolute(node: ast.ImportFrom, name: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    kept = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def file_imports(path: str | Path) -> tuple[str, ...]:
    """Foreign top names that a single file of the user's imports. Raises SyntaxError."""
    _, foreign = _imports(ast.parse(Path(path).read_bytes()), "user", False)
    return tuple(sorted(foreign))


def make_key(code: str, libraries: dict[str, str], again: str = "") -> str:
    """The `key` parameter of a task, e.g. `code=78d5433f015a libraries=ab12cd34 again=3`."""
    digest = hashlib.sha256(json.dumps(sorted(libraries.items())).encode()).hexdigest()[:8]
    return f"code={code} libraries={digest}" + (f" again={again}" if again else "")


def parse_key(key: str) -> dict[str, str]:
    """The parts of a key by name."""
    return dict(part.split("=", 1) for part in key.split())
