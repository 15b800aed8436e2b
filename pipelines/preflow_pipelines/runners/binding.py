"""Binding: each task's `key` is filled into the compiled spec when a run is submitted.

The key holds the digest of the code that the task can reach, the versions of the libraries it imports, and a nonce when
the step is to run again. It is a constant of the task, so it is a part of the cache key, and of nothing else.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preflow.artifacts.code import code_digest, file_imports, make_key, step_roots
from preflow.artifacts.libraries import library_versions
from preflow.errors import ScorerError
from preflow_pipelines.runners.inputs import StagedInput
from preflow_pipelines.runners.tasks import Spec, Task

SCORER_INPUTS = ("scorer", "judge", "pair_judge", "loss_file", "rule_file")
"""Inputs that are code: a Python file of the user's (a scorer may be a preference matrix)."""
# Libraries that shape messages and settings, but no result of a step.
WITHOUT_INFLUENCE = {"pydantic", "click", "rich", "PyYAML", "jinja2", "Jinja2", "kfp"}


@dataclass(frozen=True)
class Identity:
    """What a task's key was made from."""

    step: str
    key: str
    modules: dict[str, str]
    libraries: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return vars(self).copy()


def identify(task: Task, sections: Mapping[str, str], staged: Mapping[str, StagedInput], nonce: str = "") -> Identity:
    """The identity of a task under the code that is installed now."""
    own = [staged[name] for producer, name in task.inputs.values() if producer == "input" and name in SCORER_INPUTS]
    imported = {name for each in own for name in _imports_of(each)}
    code = code_digest(reached(task, sections, staged))
    foreign = imported | set(code.foreign)
    libraries = {name: version for name, version in library_versions(foreign).items() if name not in WITHOUT_INFLUENCE}
    return Identity(task.step, make_key(code.digest, libraries, nonce), code.modules, libraries)


def reached(task: Task, sections: Mapping[str, str], staged: Mapping[str, StagedInput]) -> list[str]:
    """Where the code of a task starts."""
    files = [staged[name].uri for producer, name in task.inputs.values() if producer == "input"]
    return step_roots(task.step, task.settings(sections), files)


def _imports_of(scorer: StagedInput) -> tuple[str, ...]:
    if scorer.uri.endswith(".json"):  # a preference matrix
        return ()
    try:
        return file_imports(scorer.uri)
    except SyntaxError as error:
        raise ScorerError(
            f"{scorer.files.get('.', scorer.uri)} line {error.lineno}: {error.msg}. Mend the file."
        ) from None


def bind(spec: Spec, identities: Mapping[str, Identity]) -> Spec:
    """The spec with every task's key filled in."""
    bound = copy.deepcopy(spec)
    for name, identity in identities.items():
        bound["root"]["dag"]["tasks"][name]["inputs"]["parameters"]["key"] = {
            "runtimeValue": {"constant": identity.key}
        }
    return bound
