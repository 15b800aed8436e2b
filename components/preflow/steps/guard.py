"""A step held to its key: it runs the code that the key was made from, and no other, from its first import to its last."""

import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from typing import Any

from preflow.artifacts.code import code_digest, module_digest, parse_key, step_roots
from preflow.errors import CodeChangedError


class CodeGuard(MetaPathFinder):
    """What a step may import of ours, each in the state it had at the start. A file that is edited once it is loaded
    does no harm; one that is loaded after it was edited would give other code's result under this key."""

    def __init__(self, step: str, settings: str, key: str, files: Iterable[str] = ()):
        """`files` are the step's inputs. Raises CodeChangedError if the code is another one already."""
        self.step = step
        self.modules: dict[str, str] | None = None
        expected = parse_key(key).get("code")
        if expected is None:
            return
        found = code_digest(step_roots(step, settings, files))
        if found.digest != expected:
            raise CodeChangedError(
                f"step {step}: its code is {found.digest}, its key says {expected}. "
                "The code changed after the run was started (or the image holds other code). Start the run again."
            )
        self.modules = found.modules
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Finds nothing; asked before those who do, it refuses what has changed."""
        if self.modules and name in self.modules and _state(name) != self.modules[name]:
            raise CodeChangedError(
                f"step {self.step}: {name} was edited after the run was started. "
                "Expected the code that the step's key was made from. Start the run again."
            )

    def check_nothing_escaped(self) -> None:
        """Every module of ours that was imported must be in the digest, or an edit of it would go unnoticed."""
        if self.modules is None:
            return
        shell = {f"preflow.steps.{self.step}", f"preflow.steps.{self.step}.component", "preflow.steps.images"}
        loaded = {name for name in sys.modules if name == "preflow" or name.startswith("preflow.")}
        escaped = loaded - set(self.modules) - shell
        assert not escaped, f"imported, but not in the code digest: {sorted(escaped)}"


def _state(module: str) -> str | None:
    try:
        return module_digest(module)
    except SyntaxError:  # half written
        return None
