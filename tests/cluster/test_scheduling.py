"""Where a hardware profile puts a pod, asked of the pod that really ran, on nodes with labels and advertised devices."""

from collections.abc import Iterator

import pytest

from cluster.lab import MAIN, Lab

pytestmark = pytest.mark.cluster
GPU = "example.com/gpu"
LABEL = "preflow-test/accelerator"
PROFILE = f"""
train:
  accelerator: {GPU}
  node_selector: {{{LABEL}: h100}}
  tolerations: [{{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}}]
  cpu: 500m
  memory: 3Gi
  shared_memory: 64Mi
  retries: 1
generate: {{memory: 3Gi}}
"""


@pytest.fixture
def devices(lab: Lab) -> Iterator[str]:
    """A node with a label and two devices, which nobody has: the scheduler counts them all the same."""
    node = lab.core.list_node().items[0].metadata.name
    path = f"/status/capacity/{GPU.replace('/', '~1')}"
    lab.core.api_client.set_default_header("Content-Type", "application/json-patch+json")
    try:
        lab.core.patch_node_status(node, [{"op": "add", "path": path, "value": "2"}])
        lab.core.patch_node(
            node, [{"op": "add", "path": f"/metadata/labels/{LABEL.replace('/', '~1')}", "value": "h100"}]
        )
        lab.until("devices that can be had", lambda: GPU in lab.core.read_node(node).status.allocatable)
        yield node
        lab.core.patch_node(node, [{"op": "remove", "path": f"/metadata/labels/{LABEL.replace('/', '~1')}"}])
        lab.core.patch_node_status(node, [{"op": "remove", "path": path}])
    finally:
        lab.core.api_client.default_headers.pop("Content-Type")


def test_training_lands_on_the_node_with_the_device(lab: Lab, devices: str) -> None:
    (lab.desk.folder / "gpu.yaml").write_text(PROFILE)
    lab.desk.run_file("gpu-run.yaml", hardware="gpu.yaml", data={"heldout_fraction": 0.3})  # shared with no other test
    run = lab.submit("gpu-run.yaml")
    (pod,) = lab.pods(run["run"], "train-preference")
    container = next(each for each in pod.spec.containers if each.name == MAIN)
    assert pod.spec.node_name == devices and pod.spec.node_selector == {LABEL: "h100"}
    assert container.resources.limits[GPU] == "1" and container.resources.requests["cpu"] == "500m"
    assert container.resources.limits["memory"] == "3Gi"
    assert any(each.key == "nvidia.com/gpu" and each.operator == "Exists" for each in pod.spec.tolerations)
    volumes = {mount.mount_path: mount.name for mount in container.volume_mounts}
    shared = next(each for each in pod.spec.volumes if each.name == volumes["/dev/shm"])
    assert shared.empty_dir.medium == "Memory" and shared.empty_dir.size_limit == "64Mi"
    assert container.security_context.capabilities.drop == ["ALL"]


def test_without_such_a_node_submit_says_so_before_anything_runs(lab: Lab) -> None:
    (lab.desk.folder / "nowhere.yaml").write_text(PROFILE)
    lab.desk.run_file("nowhere-run.yaml", hardware="nowhere.yaml")
    before = lab.bucket.names("runs")
    process = lab.desk.start("submit", "nowhere-run.yaml", "--json")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and LABEL in errors and "Traceback" not in errors
    assert lab.bucket.names("runs") == before
