"""A hardware profile on a compiled pipeline's tasks: accelerators, node selectors, tolerations, memory, /dev/shm, retries."""

from kfp import dsl

from preflow.steps import images
from preflow_pipelines.hardware import Hardware, RoleHardware

ROLES = {images.DATA_IMAGE: "data", images.GENERATE_IMAGE: "generate", images.TRAIN_IMAGE: "train"}


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
    from kfp import kubernetes  # imports the Kubernetes SDK (2 s), which a laptop's runs do without

    if wanted.cpu:
        task.set_cpu_request(wanted.cpu).set_cpu_limit(wanted.cpu)
    if wanted.memory:
        task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
    if wanted.accelerator:
        task.set_accelerator_type(wanted.accelerator).set_accelerator_limit(wanted.accelerator_count)
    for label, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, label_key=label, label_value=value)
    for toleration in wanted.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=wanted.shared_memory)
    if wanted.retries:
        task.set_retry(
            num_retries=wanted.retries, backoff_duration="30s", backoff_factor=2, backoff_max_duration="600s"
        )
