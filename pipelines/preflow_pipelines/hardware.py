"""Hardware profiles: what each role's tasks ask of the cluster. `cpu` asks for nothing.

A profile is a YAML file with the roles data, generate and train (examples: `hardware_examples/`):

    train:
      accelerator: nvidia.com/gpu
      accelerator_count: 1
      accelerator_memory: 80Gi
      node_selector: {cloud.google.com/gke-accelerator: nvidia-tesla-a100}
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      memory: 64Gi
      cpu: "8"
      shared_memory: 16Gi
      timeout: 12h
      retries: 2
"""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from preflow.errors import SettingsError
from preflow.settings.section import Section, explain, setting
from preflow.settings.yaml_file import read_yaml
from preflow_pipelines.quantities import Bytes, Cores, Duration, number_of

Spot = Literal["gke", "aks", "eks", "karpenter"]
SPOT: dict[str, tuple[str, str]] = {
    "gke": ("cloud.google.com/gke-spot", "true"),
    "aks": ("kubernetes.azure.com/scalesetpriority", "spot"),
    "eks": ("eks.amazonaws.com/capacityType", "SPOT"),
    "karpenter": ("karpenter.sh/capacity-type", "spot"),
}
"""The label of a provider's spot nodes. Where they have a taint as well, it is the same key and value, NoSchedule."""
NAME = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"


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


class NodeRequirement(Section):
    """A node must have it, or with a weight: is preferred for it. All those without a weight must hold."""

    key: str = setting(..., "label of the node", source="yours", min_length=1)
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = setting(
        "In", "how the label's value is compared", source="Kubernetes"
    )
    values: tuple[str, ...] = setting((), "what it is compared with", source="Kubernetes")
    weight: int | None = setting(None, "1 to 100: preferred, not required", source="required", ge=1, le=100)

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise ValueError(f"operator: {self.operator} takes no values; remove them, or write operator: In")
        if self.operator in ("In", "NotIn") and not self.values:
            raise ValueError(f"operator: {self.operator} needs values, e.g. values: [zone-a]")
        if self.operator in ("Gt", "Lt") and not (len(self.values) == 1 and self.values[0].isdecimal()):
            raise ValueError(f'operator: {self.operator} needs one whole number in quotes, e.g. values: ["4"]')
        return self


class RoleHardware(Section):
    accelerator: str | None = setting(None, "resource name, e.g. nvidia.com/gpu", source="none", min_length=1)
    accelerator_count: int = setting(1, "devices per task, where an accelerator is named", source="one", ge=1)
    accelerator_memory: Bytes | None = setting(
        None, "memory of one device, e.g. 80Gi; only `check` reads it, to refuse what cannot fit", source="not compared"
    )
    node_selector: dict[str, str] = setting({}, "labels that the node must have", source="any node")
    node_affinity: tuple[NodeRequirement, ...] = setting(
        (), "what the node must have or better has, where one value per label does not say it", source="any node"
    )
    tolerations: tuple[Toleration, ...] = setting((), "taints that the task tolerates", source="none")
    cpu: Cores | None = setting(None, "requested cores, e.g. 8 or 500m", source="the cluster's default")
    cpu_limit: Cores | None = setting(None, "limiting cores", source="as many as are requested")
    memory: Bytes | None = setting(None, "requested memory, e.g. 64Gi", source="the cluster's default")
    memory_limit: Bytes | None = setting(None, "limiting memory", source="as much as is requested")
    shared_memory: Bytes | None = setting(
        None, "size of /dev/shm, e.g. 16Gi; counts as memory", source="64 MiB, the container's default"
    )
    queue: str | None = setting(None, "queue of Kueue's that the pods wait in", source="none", pattern=NAME)
    queue_priority: str | None = setting(
        None, "WorkloadPriorityClass of Kueue's, where there is a queue", source="the queue's", pattern=NAME
    )
    spot: Spot | None = setting(
        None,
        "on spot nodes of this provider: their label, their taint tolerated; needs retries",
        source="nodes that stay",
    )
    autoscaled: bool = setting(
        False, "nodes are added when a pod waits: that none matches now is no error", source="a typo waits for ever"
    )
    timeout: Duration | None = setting(None, "an attempt's longest time, from the pod's start, e.g. 12h", source="none")
    retries: int = setting(
        0,
        "attempts after a failure; training resumes from its checkpoint. Kubeflow Pipelines makes none after a pod was deleted "
        "or lost with its node: `preflow retry` does",
        source="none",
        ge=0,
    )
    backoff: Duration = setting("30s", "wait before the first retry", source="a node needs a moment to come back")
    backoff_factor: int = setting(2, "the next wait in units of the last one", source="Kubeflow's default", ge=1, le=10)

    @model_validator(mode="before")
    @classmethod
    def _no_priority_class(cls, content: Any) -> Any:
        if isinstance(content, dict) and "priority_class" in content:
            raise ValueError(
                "priority_class cannot be set: Kubeflow Pipelines 2.17 has no field for a pod's priorityClassName. "
                "With Kueue use queue_priority; else ask for a PriorityClass with globalDefault or an admission policy."
            )
        return content

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        for name in ("accelerator_count", "accelerator_memory"):
            if name in self.model_fields_set and self.accelerator is None:
                raise ValueError(f"{name} has no effect without an accelerator; name one, e.g. nvidia.com/gpu")
        for name in ("backoff", "backoff_factor"):
            if name in self.model_fields_set and not self.retries:
                raise ValueError(f"{name} has no effect without retries; set retries: 2, or remove it")
        if self.queue_priority and not self.queue:
            raise ValueError("queue_priority has no effect without a queue; name one, or remove it")
        if self.spot and not self.retries:
            raise ValueError("spot nodes are taken away, which ends a task without retries; set retries: 10")
        return self

    @model_validator(mode="after")
    def _limits_allow_what_is_asked(self) -> Self:
        for name in ("cpu", "memory"):
            asked, limit = getattr(self, name), getattr(self, f"{name}_limit")
            if asked and limit and number_of(limit) < number_of(asked):
                raise ValueError(f"{name}_limit {limit} is less than {name} {asked}; raise it, or remove it")
        limit = self.memory_limit or self.memory
        if limit and self.shared_memory and number_of(self.shared_memory) >= number_of(limit):
            raise ValueError(
                f"shared_memory {self.shared_memory} counts as memory, of which there are {limit}; raise that"
            )
        return self

    @property
    def labels_wanted(self) -> dict[str, str]:
        """Labels that the node must have, those of spot nodes among them."""
        return dict(self.node_selector) | (dict([SPOT[self.spot]]) if self.spot else {})

    @property
    def taints_tolerated(self) -> tuple[Toleration, ...]:
        """`tolerations`, and the taint of spot nodes."""
        if self.spot is None:
            return self.tolerations
        key, value = SPOT[self.spot]
        return (*self.tolerations, Toleration(key=key, value=value, effect="NoSchedule"))

    @property
    def pod_labels(self) -> dict[str, str]:
        """What Kueue reads."""
        named = {"kueue.x-k8s.io/queue-name": self.queue, "kueue.x-k8s.io/priority-class": self.queue_priority}
        return {label: value for label, value in named.items() if value}


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
