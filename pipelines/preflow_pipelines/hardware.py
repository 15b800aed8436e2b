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

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ValidationError, model_validator

from preflow.errors import SettingsError
from preflow.settings.section import Section, explain, setting
from preflow.settings.yaml_file import read_yaml

CORES = re.compile(r"([0-9]*\.)?[0-9]+m?")
BYTES = re.compile(r"[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?")


def _plain(value: Any) -> Any:
    """`cpu: 8` means the text "8"."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _cores(value: str) -> str:
    if not CORES.fullmatch(value):
        raise ValueError("expected a number of cores such as 8 or 500m")
    return value


def _bytes(value: str) -> str:
    if not BYTES.fullmatch(value):
        raise ValueError("expected a size such as 64Gi or 512Mi")
    return value


Cores = Annotated[str, BeforeValidator(_plain), AfterValidator(_cores)]
Bytes = Annotated[str, BeforeValidator(_plain), AfterValidator(_bytes)]


class Toleration(Section):
    key: str | None = setting(None, "taint's key", source="Kubernetes")
    operator: Literal["Exists", "Equal"] = setting("Equal", "how the value is compared", source="Kubernetes")
    value: str | None = setting(None, "taint's value", source="Kubernetes")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = setting(
        None, "taint's effect", source="Kubernetes"
    )

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator == "Equal" and not self.key:
            raise ValueError("a toleration without a key needs operator: Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator: Exists takes no value; remove it, or write operator: Equal")
        return self


class RoleHardware(Section):
    accelerator: str | None = setting(None, "resource name, e.g. nvidia.com/gpu", source="none", min_length=1)
    accelerator_count: int = setting(1, "devices per task, where an accelerator is named", source="one", ge=1)
    node_selector: dict[str, str] = setting({}, "labels that the node must have", source="any node")
    tolerations: tuple[Toleration, ...] = setting((), "taints that the task tolerates", source="none")
    cpu: Cores | None = setting(None, "requested and limiting cores, e.g. 8 or 500m", source="the cluster's default")
    memory: Bytes | None = setting(None, "requested and limiting memory, e.g. 64Gi", source="the cluster's default")
    shared_memory: Bytes | None = setting(
        None, "size of /dev/shm, e.g. 16Gi; counts as memory", source="64 MiB, the container's default"
    )
    retries: int = setting(0, "attempts after a failure; training resumes from its checkpoint", source="none", ge=0)

    @model_validator(mode="after")
    def _counts_something(self) -> Self:
        if "accelerator_count" in self.model_fields_set and self.accelerator is None:
            raise ValueError("accelerator_count has no effect without an accelerator; name one, e.g. nvidia.com/gpu")
        return self


class Hardware(Section):
    data: RoleHardware = setting(RoleHardware(), "import, rejection, pairs, report", source="no model runs there")
    generate: RoleHardware = setting(RoleHardware(), "sampling, scoring, evaluation", source="as the profile says")
    train: RoleHardware = setting(RoleHardware(), "reference log-probs and training", source="as the profile says")


def load_hardware(name: str, folder: Path) -> Hardware:
    """`cpu`, or the profile in the file `name` (relative to the run file's folder). Raises SettingsError."""
    if name == "cpu":
        return Hardware()
    fix = "Expected `hardware: cpu`, or a profile's path from the run file's folder."
    content = read_yaml(folder / os.path.expanduser(name), "train: {accelerator: nvidia.com/gpu}", fix)
    try:
        return Hardware.model_validate(content)
    except ValidationError as error:
        raise SettingsError(explain(error, Hardware, name)) from None
