"""Hardware profiles: what each role's tasks ask of the cluster. `cpu` asks for nothing.

A profile is a YAML file with the roles data, generate and train:

    train:
      accelerator: nvidia.com/gpu
      accelerator_count: 1
      node_selector: {cloud.google.com/gke-accelerator: nvidia-tesla-a100}
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      memory: 64Gi
      cpu: "8"
      shared_memory: 16Gi
      retries: 2
"""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from preflow.errors import SettingsError
from preflow.settings.runfile import read_yaml
from preflow.settings.section import Section, explain, setting


class Toleration(Section):
    key: str | None = setting(None, "taint's key", source="Kubernetes")
    operator: Literal["Exists", "Equal"] = setting("Equal", "how the value is compared", source="Kubernetes")
    value: str | None = setting(None, "taint's value", source="Kubernetes")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = setting(
        None, "taint's effect", source="Kubernetes"
    )


class RoleHardware(Section):
    accelerator: str | None = setting(None, "resource name, e.g. nvidia.com/gpu", source="none")
    accelerator_count: int = setting(1, "devices per task, where an accelerator is named", source="one", ge=1)
    node_selector: dict[str, str] = setting({}, "labels that the node must have", source="any node")
    tolerations: tuple[Toleration, ...] = setting((), "taints that the task tolerates", source="none")
    cpu: str | None = setting(None, "requested and limiting cores, e.g. 8 or 500m", source="the cluster's default")
    memory: str | None = setting(None, "requested and limiting memory, e.g. 64Gi", source="the cluster's default")
    shared_memory: str | None = setting(
        None, "size of /dev/shm, e.g. 16Gi; counts as memory", source="64 MiB, the container's default"
    )
    retries: int = setting(0, "attempts after a failure; training resumes from its checkpoint", source="none", ge=0)


class Hardware(Section):
    data: RoleHardware = setting(RoleHardware(), "import, rejection, pairs, report", source="no model runs there")
    generate: RoleHardware = setting(RoleHardware(), "sampling, scoring, evaluation", source="as the profile says")
    train: RoleHardware = setting(RoleHardware(), "reference log-probs and training", source="as the profile says")


def load_hardware(name: str, folder: Path) -> Hardware:
    """`cpu`, or the profile in the file `name` (relative to the run file's folder). Raises SettingsError."""
    if name == "cpu":
        return Hardware()
    try:
        return Hardware.model_validate(read_yaml(folder / name))
    except ValidationError as error:
        raise SettingsError(explain(error, Hardware, name)) from None
