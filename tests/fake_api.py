"""What a cluster's API and pods say, as a test wants it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.answers import Service, asking
from preflow_pipelines.runners.cluster.api import RunState, TaskState
from preflow_pipelines.runners.cluster.pods_of import Pods

SERVICE = Service("the API", "http://api", "Mend it.", "Log in.")
PROFILE = ClusterProfile(
    api="http://api", bucket="s3://b/p", bucket_endpoint="http://store:9000", bucket_region="eu-west-1"
)


def run_state(over: str | None = None, **tasks: str) -> RunState:
    """A run's state from those of its tasks, driver and importers; `_` in a name stands for `-`."""
    named = {name.replace("_", "-"): state for name, state in tasks.items()}
    return RunState(over, None, {name: TaskState(name, state, None, None) for name, state in named.items()}, {})


class FakeApi:
    """`states` are told one after the other, the last one for ever."""

    def __init__(self, *states: RunState) -> None:
        self.error: Exception | None = None
        self.made: dict[str, str] = {}
        self.arrives = True
        self.states = list(states)

    def create_run(self, package: Path, arguments: Any, *, name: str, experiment: str, root: str) -> str:
        if self.arrives:
            self.made[name] = "kfp-1"
        with asking(SERVICE):
            if self.error:
                raise self.error
        return "kfp-1"

    def find_run(self, name: str) -> str | None:
        return self.made.get(name)

    def run_url(self, run: str) -> str:
        return f"http://api/{run}"

    def state(self, run: str) -> RunState:
        with asking(SERVICE):
            if self.error:
                raise self.error
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def cancel(self, run: str) -> None:
        self.states = [run_state("FAILED")]

    def log(self, run: str, pod: str) -> str | None:
        return None


class FakePods(Pods):
    """Pods that ended, by what Argo calls their node: exit code and log."""

    def __init__(self, ended: dict[str, tuple[int, str]]) -> None:
        self.namespace, self.core, self.ended = "kubeflow", self, ended

    def list_namespaced_pod(self, namespace: str, **asked: Any) -> Any:
        from kubernetes import client

        def pod(node: str, code: int) -> Any:
            over = client.V1ContainerStateTerminated(exit_code=code, reason="Error")
            status = SimpleNamespace(name="main", state=client.V1ContainerState(terminated=over))
            about = client.V1ObjectMeta(
                name=node, annotations={"workflows.argoproj.io/node-name": node}, creation_timestamp=_NOW
            )
            spec = SimpleNamespace(containers=[SimpleNamespace(name="main", env=None)])
            state = SimpleNamespace(phase="Failed", container_statuses=[status], conditions=None, reason=None)
            return SimpleNamespace(metadata=about, spec=spec, status=state)

        return SimpleNamespace(items=[pod(node, code) for node, (code, _) in self.ended.items()])

    def read_namespaced_pod_log(self, pod: str, namespace: str, **asked: Any) -> Any:
        return SimpleNamespace(data=self.ended[pod][1].encode())


_NOW = SimpleNamespace(timestamp=lambda: 0.0)
