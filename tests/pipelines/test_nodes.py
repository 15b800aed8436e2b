"""Which nodes a role's pods can run on, and what is said where none can."""

from typing import Any

import pytest

from preflow_pipelines.hardware import RoleHardware
from preflow_pipelines.nodes import node_matches

GPU = "nvidia.com/gpu"
TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


def node(
    name: str, labels: dict[str, str], taints: list[dict[str, str]] | None = None, **offered: str
) -> dict[str, Any]:
    """As the API writes one."""
    allocatable = {"cpu": "7910m", "memory": "32780036Ki", **offered}
    spec = {"taints": taints} if taints else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}}


NODES = [
    node("plain", {"kubernetes.io/os": "linux", "cores": "8"}),
    node("a100", {"gpu": "a100", "cores": "64"}, [TAINT], **{GPU: "2", "memory": "512Gi"}),
    node("t4", {"gpu": "t4"}, [TAINT], **{GPU: "1"}),
]
TOLERATED = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]


def asked(**wanted: Any) -> str | None:
    return node_matches(RoleHardware.model_validate(wanted), NODES)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"cpu": "7", "memory": "30Gi"},
        {"accelerator": GPU, "accelerator_count": 2, "tolerations": TOLERATED, "node_selector": {"gpu": "a100"}},
        {"accelerator": GPU, "memory": "256Gi", "tolerations": [{"operator": "Exists"}]},
        {
            "node_affinity": [
                {"key": "cores", "operator": "Gt", "values": ["4"]},
                {"key": "gpu", "operator": "DoesNotExist"},
            ]
        },
        {"node_affinity": [{"key": "gpu", "values": ["h100"], "weight": 1}]},
        {"tolerations": [{"key": GPU, "value": "present"}], "node_selector": {"gpu": "t4"}},
    ],
)
def test_a_node_that_can(wanted: dict[str, Any]) -> None:
    assert asked(**wanted) is None


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"node_selector": {"gpu": "h100"}}, "label gpu=h100; there is gpu=a100, gpu=t4. Mend node_selector"),
        ({"node_selector": {"gpus": "a100"}}, "label gpus=a100. Did you mean 'gpu'?"),
        ({"node_selector": {"gpu": "t4", "cores": "64"}}, "none of the nodes (t4) has the label cores=64"),
        (
            {"node_affinity": [{"key": "gpu", "values": ["h100"]}]},
            "fulfils node_affinity gpu In h100; there is gpu=a100",
        ),
        ({"accelerator": "amd.com/gpu"}, f"no node that matches offers amd.com/gpu. They offer {GPU}."),
        ({"accelerator": GPU, "node_selector": {"cores": "8"}}, "Is its device plugin installed?"),
        ({"accelerator": GPU, "accelerator_count": 4}, f"has 4 of {GPU}: the largest has 2. Lower accelerator_count."),
        ({"accelerator": GPU}, f"{GPU}=present:NoSchedule. Add them to tolerations: [{{key: {GPU}, operator: Equal"),
        ({"tolerations": [{"key": GPU, "value": "x"}], "node_selector": {"gpu": "t4"}}, "not tolerated"),
        ({"memory": "1Ti"}, "1024.0 GiB of memory: the largest has 31.3 GiB. Lower memory."),
        ({"cpu_limit": "16"}, "has 16 of cpu: the largest has 7.91. Lower cpu."),
        ({"spot": "aks", "retries": 1}, "label kubernetes.azure.com/scalesetpriority=spot"),
    ],
)
def test_why_no_node_can(wanted: dict[str, Any], words: str) -> None:
    said = asked(**wanted)
    assert said is not None and words in said


def test_nodes_out_of_service() -> None:
    cordoned = node("plain", {}, [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}])
    assert "out of service" in str(node_matches(RoleHardware(), [cordoned]))
    assert "no nodes" in str(node_matches(RoleHardware(), []))
    preferred = node("plain", {}, [{"key": "a", "effect": "PreferNoSchedule"}])
    assert node_matches(RoleHardware(), [preferred]) is None
