"""Whether any node of a cluster can take a role's pods: said before anything runs, where a pod would wait for ever."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from preflow.errors import did_you_mean
from preflow_pipelines.hardware import NodeRequirement, RoleHardware, Toleration
from preflow_pipelines.quantities import gibibytes, number_of

Node = Mapping[str, Any]
SHOWN = 5


def node_matches(role: RoleHardware, nodes: Sequence[Node]) -> str | None:
    """Why none of `nodes` (as the Kubernetes API writes them) can take a pod of `role`; None where one can.

    By what a node has, not by what is free on it now: pods wait for that. A node that is not ready, or that an autoscaler
    would still add, is no match (see RoleHardware.autoscaled).
    """
    if not nodes:
        return "the cluster has no nodes. Add one, or wait for one."
    left = list(nodes)
    for fits, why in _questions(role):
        taken = [node for node in left if fits(node)]
        if not taken:
            return why(left)
        left = taken
    return None


Question = tuple[Callable[[Node], bool], Callable[[Sequence[Node]], str]]


def _questions(role: RoleHardware) -> list[Question]:
    """What a node must be, one after the other, and what to say where none is left."""
    questions = [_labelled(label, value) for label, value in role.labels_wanted.items()]
    questions += [_fulfils(each) for each in role.node_affinity if each.weight is None]
    if role.accelerator:
        questions.append(_has(role.accelerator, role.accelerator_count, "accelerator_count"))
    questions.append((lambda node: not _forbidding(role, node), lambda nodes: _not_tolerated(role, nodes)))
    for resource, asked in (("cpu", role.cpu or role.cpu_limit), ("memory", role.memory or role.memory_limit)):
        if asked:  # a limit alone is a request as well
            questions.append(_has(resource, number_of(asked), resource))
    return questions


def _labels(node: Node) -> dict[str, str]:
    found: dict[str, str] = node.get("metadata", {}).get("labels") or {}
    return found


def _labelled(key: str, value: str) -> Question:
    def why(nodes: Sequence[Node]) -> str:
        fix = f"Mend node_selector, or label a node: kubectl label node NAME {key}={value}"
        return f"none of {_named(nodes)} has the label {key}={value}{_nearest(key, nodes)} {fix}"

    return (lambda node: _labels(node).get(key) == value), why


def _nearest(key: str, nodes: Sequence[Node]) -> str:
    """Other values of this label, or a label that is spelled much like it."""
    if values := sorted({_labels(node)[key] for node in nodes if key in _labels(node)}):
        return f"; there is {_some([f'{key}={each}' for each in values])}."
    return f".{did_you_mean(key, {label for node in nodes for label in _labels(node)})}"


def _named(nodes: Sequence[Node]) -> str:
    names = sorted(node.get("metadata", {}).get("name", "?") for node in nodes)
    return f"the nodes ({_some(names)})"


def _holds(requirement: NodeRequirement, labels: Mapping[str, str]) -> bool:
    """As Kubernetes' scheduler compares: a label that is absent is not in, and neither greater nor less."""
    found, values = labels.get(requirement.key), requirement.values
    match requirement.operator:
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt":
            return found is not None and found.isdecimal() and int(found) > int(values[0])
        case "Lt":
            return found is not None and found.isdecimal() and int(found) < int(values[0])


def _fulfils(requirement: NodeRequirement) -> Question:
    def why(nodes: Sequence[Node]) -> str:
        asked = " ".join([requirement.key, requirement.operator, *requirement.values])
        return f"none of {_named(nodes)} fulfils node_affinity {asked}{_nearest(requirement.key, nodes)} Mend it."

    return (lambda node: _holds(requirement, _labels(node))), why


def _taints(node: Node) -> list[dict[str, str]]:
    """Those that keep a pod away."""
    found = node.get("spec", {}).get("taints") or []
    return [taint for taint in found if taint["effect"] != "PreferNoSchedule"]


def _tolerates(toleration: Toleration, taint: Mapping[str, str]) -> bool:
    if toleration.effect not in (None, taint["effect"]) or toleration.key not in (None, taint["key"]):
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == (taint.get("value") or "")


def _forbidding(role: RoleHardware, node: Node) -> list[dict[str, str]]:
    """The node's taints that the role does not tolerate. Kubernetes adds the toleration of an accelerator's own taint
    only where a cluster is set up so, which is not counted on."""
    return [taint for taint in _taints(node) if not any(_tolerates(each, taint) for each in role.taints_tolerated)]


def _not_tolerated(role: RoleHardware, nodes: Sequence[Node]) -> str:
    shown = sorted({_taint(taint) for node in nodes for taint in _forbidding(role, node)})
    first = _forbidding(role, nodes[0])[0]
    if first["key"].startswith("node.kubernetes.io/"):
        return (
            f"all nodes that match are out of service: they have the taints {_some(shown)}. Look at: kubectl get nodes"
        )
    value = f", value: {first['value']}" if first.get("value") else ""
    operator = "Equal" if value else "Exists"
    fix = f"[{{key: {first['key']}, operator: {operator}{value}, effect: {first['effect']}}}]"
    return f"all nodes that match have taints that are not tolerated: {_some(shown)}. Add them to tolerations: {fix}"


def _taint(taint: Mapping[str, str]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _allocatable(node: Node, resource: str) -> float:
    return number_of(str((node.get("status", {}).get("allocatable") or {}).get(resource, "0")))


def _has(resource: str, wanted: float, setting: str) -> Question:
    def why(nodes: Sequence[Node]) -> str:
        most = max(_allocatable(node, resource) for node in nodes)
        if not most and setting == "accelerator_count":
            others = sorted(
                {name for node in nodes for name in node.get("status", {}).get("allocatable") or {} if "/" in name}
            )
            known = f" They offer {_some(others)}." if others else " Is its device plugin installed?"
            return f"no node that matches offers {resource}.{known} Mend accelerator, or choose other nodes."
        show = gibibytes if resource == "memory" else "{:g}".format
        return f"no node that matches has {show(wanted)} of {resource}: the largest has {show(most)}. Lower {setting}."

    return (lambda node: _allocatable(node, resource) >= wanted), why


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
