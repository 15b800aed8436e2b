"""A hardware profile on a compiled pipeline's tasks: accelerators, nodes, memory, /dev/shm, queue, timeout, retries.

What kfp-kubernetes 2.17 has no field for (a pod's priorityClassName, a read-only root) is refused where a profile is read.
"""

from kfp import dsl

from preflow.steps import images
from preflow_pipelines.hardware import Hardware, NodeRequirement, RoleHardware
from preflow_pipelines.quantities import seconds_of

ROLES = {images.DATA_IMAGE: "data", images.GENERATE_IMAGE: "generate", images.TRAIN_IMAGE: "train"}
NO_END = "8760h"
"""A year. What kfp calls the longest backoff is Argo's maxDuration: this long after the *first* attempt's start nothing is
tried again, and an attempt that runs is killed. kfp's own default is an hour."""


def role_of(task: dsl.PipelineTask) -> str | None:
    """The role whose image the task runs in; None for an importer."""
    container = task.container_spec
    return ROLES.get(container.image) if container else None


def apply_hardware(task: dsl.PipelineTask, hardware: Hardware) -> None:
    """Put what the task's role asks for on the task."""
    role = role_of(task)
    if role is None:
        return
    wanted: RoleHardware = getattr(hardware, role)
    if wanted == RoleHardware():
        return
    _container(task, wanted)
    _pod(task, wanted)
    if wanted.retries:
        task.set_retry(
            num_retries=wanted.retries,
            backoff_duration=f"{seconds_of(wanted.backoff)}s",
            backoff_factor=wanted.backoff_factor,
            backoff_max_duration=NO_END,
        )


def _container(task: dsl.PipelineTask, wanted: RoleHardware) -> None:
    if wanted.cpu:
        task.set_cpu_request(wanted.cpu)
    if limit := wanted.cpu_limit or wanted.cpu:
        task.set_cpu_limit(limit)
    if wanted.memory:
        task.set_memory_request(wanted.memory)
    if limit := wanted.memory_limit or wanted.memory:
        task.set_memory_limit(limit)
    if wanted.accelerator:
        task.set_accelerator_type(wanted.accelerator).set_accelerator_limit(wanted.accelerator_count)


def _pod(task: dsl.PipelineTask, wanted: RoleHardware) -> None:
    from kfp import kubernetes  # imports the Kubernetes SDK (2 s), which a laptop's runs do without

    for label, value in wanted.labels_wanted.items():
        kubernetes.add_node_selector(task, label_key=label, label_value=value)
    if required := [_expression(each) for each in wanted.node_affinity if each.weight is None]:
        kubernetes.add_node_affinity(task, match_expressions=required)  # one term: several would be alternatives
    for each in wanted.node_affinity:
        if each.weight is not None:
            kubernetes.add_node_affinity(task, match_expressions=[_expression(each)], weight=each.weight)
    for toleration in wanted.taints_tolerated:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=wanted.shared_memory)
    for label, value in wanted.pod_labels.items():
        kubernetes.add_pod_label(task, label, value)
    if wanted.timeout:
        kubernetes.set_timeout(task, seconds_of(wanted.timeout))


def _expression(requirement: NodeRequirement) -> dict[str, object]:
    found = requirement.model_dump(include={"key", "operator", "values"})
    return found | {"values": list(requirement.values)}
