"""Binding a compiled spec to a cluster: images by digest, and for each task its key, its lineage and its run.

The image's digest covers the code and the libraries, and it is a part of the backend's cache key. So a task's own `key` holds
no more than the nonce of a rerun.
"""

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from preflow.artifacts.ids import canonical_json
from preflow_pipelines.resources import ROLES
from preflow_pipelines.runners.tasks import Spec, Task, tasks_of


def with_images(spec: Spec, references: Mapping[str, str]) -> Spec:
    """The spec with every role's image replaced; `references` maps a role to `repository@sha256:...`."""
    bound = copy.deepcopy(spec)
    for executor in bound["deploymentSpec"]["executors"].values():
        if "container" in executor:
            executor["container"]["image"] = references[ROLES[executor["container"]["image"]]]
    return bound


def cluster_key(nonce: str) -> str:
    """The `key` of a task on a cluster."""
    return f"again={nonce}" if nonce else ""


def lineages(
    tasks: list[Task], sections: Mapping[str, str], uris: Mapping[str, str], nonces: Mapping[str, str]
) -> dict[str, str]:
    """For each task a digest of all that its result depends on: step, settings, key, image, and the same of its inputs.

    `tasks` in an order in which they can run; `uris` are those of the workflow's inputs, which are content addresses.
    """
    found: dict[str, str] = {}
    for task in tasks:
        inputs = {
            name: uris[source] if producer == "input" else f"{found[producer]}/{source}"
            for name, (producer, source) in task.inputs.items()
        }
        key = cluster_key(nonces.get(task.name, ""))
        identity = canonical_json([task.step, task.settings(sections), key, task.image, sorted(inputs.items())])
        found[task.name] = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return found


def bind_run(spec: Spec, run: str, found: Mapping[str, str], nonces: Mapping[str, str]) -> Spec:
    """The spec with the tasks' keys, and with what only their environment tells: the run and the lineages."""
    bound = copy.deepcopy(spec)
    for name, task in bound["root"]["dag"]["tasks"].items():
        executor = bound["deploymentSpec"]["executors"][
            bound["components"][task["componentRef"]["name"]]["executorLabel"]
        ]
        if "container" not in executor:
            continue
        told = {"PREFLOW_RUN_ID": run} | ({"PREFLOW_LINEAGE": found[name]} if name in found else {})
        kept = [each for each in executor["container"].get("env", []) if each["name"] not in told]
        executor["container"]["env"] = kept + [{"name": key, "value": value} for key, value in told.items()]
        task["inputs"]["parameters"]["key"] = {"runtimeValue": {"constant": cluster_key(nonces.get(name, ""))}}
    return bound


def roles_of(spec: Spec) -> set[str]:
    """The roles whose images a compiled spec names."""
    executors = spec["deploymentSpec"]["executors"].values()
    return {ROLES[each["container"]["image"]] for each in executors if "container" in each}


def task_identities(spec: Spec, found: Mapping[str, str], nonces: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What run.json says of each task."""
    return {
        task.name: {
            "step": task.step,
            "key": cluster_key(nonces.get(task.name, "")),
            "image": task.image,
            "lineage": found[task.name],
            "modules": {},
            "libraries": {},
        }
        for task in tasks_of(spec)
    }
