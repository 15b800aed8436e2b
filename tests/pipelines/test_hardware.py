"""Hardware profiles: what is refused, what the shipped examples put on their tasks."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import preflow_pipelines
from preflow.errors import SettingsError
from preflow.settings.plan import make_plan
from preflow.settings.runfile import parse_run_file
from preflow_pipelines.compile import write_pipeline
from preflow_pipelines.hardware import load_hardware

EXAMPLES = Path(preflow_pipelines.__file__).parent / "hardware_examples"
GPU = "nvidia.com/gpu"


def compiled(folder: Path, hardware: str) -> dict[str, dict[str, Any]]:
    """By task of a dpo run with this profile: container, pod settings, retry policy."""
    (folder / "pairs.jsonl").touch()
    (folder / "model").mkdir(exist_ok=True)
    content = {"method": "dpo", "model": "./model", "data": {"pairs": "pairs.jsonl"}}
    plan = make_plan(parse_run_file(content), folder)
    write_pipeline(plan, load_hardware(hardware, folder), folder / "out.yaml")
    spec, *platform = yaml.safe_load_all((folder / "out.yaml").read_text())
    pods = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}
    return {
        name: {
            "resources": spec["deploymentSpec"]["executors"][f"exec-{name}"].get("container", {}).get("resources", {}),
            "pod": pods.get(f"exec-{name}", {}),
            "retry": task.get("retryPolicy", {}),
        }
        for name, task in spec["root"]["dag"]["tasks"].items()
    }


def test_every_example_loads_and_compiles(tmp_path: Path) -> None:
    names = sorted(path.name for path in EXAMPLES.iterdir())
    assert names == ["gpu-a100.yaml", "gpu-h100-multi.yaml", "kueue.yaml", "spot.yaml"]
    for name in names:
        tasks = compiled(tmp_path, str(EXAMPLES / name))
        assert tasks["train-preference"]["resources"]["accelerator"]["resourceType"] == GPU
        assert "accelerator" not in tasks["import-data"]["resources"]
        assert tasks["import-data"]["resources"]["resourceMemoryLimit"] == "2Gi"


def test_one_a100(tmp_path: Path) -> None:
    task = compiled(tmp_path, str(EXAMPLES / "gpu-a100.yaml"))["train-preference"]
    assert task["pod"] == {
        "nodeSelector": {"labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}},
        "tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
        "activeDeadlineSeconds": "86400",
    }
    assert task["retry"]["maxRetryCount"] == 2


def test_eight_h100(tmp_path: Path) -> None:
    task = compiled(tmp_path, str(EXAMPLES / "gpu-h100-multi.yaml"))["train-preference"]
    assert task["resources"]["accelerator"]["resourceCount"] == "8"
    assert (task["resources"]["resourceCpuRequest"], task["resources"]["resourceCpuLimit"]) == ("64", "96")
    assert task["pod"]["nodeAffinity"] == [
        {
            "matchExpressions": [
                {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H100-80GB-HBM3", "NVIDIA-H200"]}
            ]
        },
        {
            "matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-a"]}],
            "weight": 50,
        },
    ]
    assert task["pod"]["emptyDirMounts"] == [
        {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "64Gi", "volumeName": "shm"}
    ]
    assert task["pod"]["activeDeadlineSeconds"] == str(3 * 86400)


def test_spot_nodes_have_their_label_and_taint_and_retries(tmp_path: Path) -> None:
    task = compiled(tmp_path, str(EXAMPLES / "spot.yaml"))["train-preference"]
    assert task["pod"]["nodeSelector"] == {"labels": {"cloud.google.com/gke-spot": "true"}}
    assert task["pod"]["tolerations"][-1] == {
        "key": "cloud.google.com/gke-spot",
        "operator": "Equal",
        "value": "true",
        "effect": "NoSchedule",
    }
    # Argo tries nothing again, and kills what runs, this long after the first attempt began: longer than any training.
    assert task["retry"] == {
        "maxRetryCount": 10,
        "backoffDuration": "120s",
        "backoffFactor": 1.0,
        "backoffMaxDuration": "31536000s",
    }


def test_a_queue_is_a_label_of_every_pod(tmp_path: Path) -> None:
    tasks = compiled(tmp_path, str(EXAMPLES / "kueue.yaml"))
    queue = {"kueue.x-k8s.io/queue-name": "team-a"}
    assert tasks["import-data"]["pod"]["podMetadata"]["labels"] == queue
    assert tasks["train-preference"]["pod"]["podMetadata"]["labels"] == queue | {
        "kueue.x-k8s.io/priority-class": "high"
    }


def test_required_affinities_hold_together(tmp_path: Path) -> None:
    """Kubernetes takes terms for alternatives: what must all hold is one term."""
    both = [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "In", "values": ["1"]}]
    (tmp_path / "h.yaml").write_text(yaml.safe_dump({"train": {"node_affinity": both}}))
    (term,) = compiled(tmp_path, "h.yaml")["train-preference"]["pod"]["nodeAffinity"]
    assert [each["key"] for each in term["matchExpressions"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {priority_class: high}", "cannot be set.*queue_priority"),
        ("train: {queue_priority: high}", "without a queue"),
        ("train: {queue: Team A}", "train.queue"),
        ("train: {spot: gke}", "spot nodes are taken away.*retries"),
        ("train: {spot: moon, retries: 1}", "train.spot"),
        ("train: {backoff: 10s}", "no effect without retries"),
        ("train: {retries: 1, backoff: soon}", "expected a time such as 30s"),
        ("train: {retries: 1, backoff_factor: 1.5}", "backoff_factor"),
        ("train: {timeout: 0s}", "expected a time"),
        ("train: {memory: 8Gi, memory_limit: 4Gi}", "memory_limit 4Gi is less than memory 8Gi"),
        ("train: {cpu: 2, cpu_limit: 500m}", "cpu_limit 500m is less"),
        ("train: {memory: 8Gi, shared_memory: 8Gi}", "counts as memory"),
        ("train: {memory: 64K}", "expected a size"),
        ("train: {accelerator_memory: 80Gi}", "no effect without an accelerator"),
        ("train: {node_affinity: [{key: a}]}", "needs values"),
        ("train: {node_affinity: [{key: a, operator: Exists, values: [b]}]}", "takes no values"),
        ("train: {node_affinity: [{key: a, operator: Gt, values: [b]}]}", "one whole number"),
        ("train: {node_affinity: [{key: a, values: [b], weight: 0}]}", "weight"),
    ],
)
def test_what_has_no_effect_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(SettingsError, match=f"(?s){words}"):
        load_hardware("h.yaml", tmp_path)
