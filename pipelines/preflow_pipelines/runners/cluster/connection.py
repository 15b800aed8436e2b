"""A cluster as a context names it: its API, its bucket, its pods."""

import os
from functools import cached_property
from pathlib import Path

from preflow.artifacts.bucket import ENDPOINT, URI, Bucket
from preflow.errors import ClusterError
from preflow_pipelines.profile import ClusterProfile, load_profile
from preflow_pipelines.runners.cluster.api import Api
from preflow_pipelines.runners.cluster.pods_of import Pods
from preflow_pipelines.runners.folder import RunFolder


class Connection:
    """Each part is connected to when it is first asked for."""

    def __init__(self, context: str, profile: ClusterProfile):
        self.context, self.profile = context, profile

    @classmethod
    def of(cls, home: Path, context: str | None = None) -> "Connection":
        """By the context's name, or the one in use. Raises SettingsError if there is none."""
        return cls(*load_profile(home, context))

    @classmethod
    def of_run(cls, home: Path, run: RunFolder) -> "Connection":
        """To the cluster of a run. Raises ClusterError if its context leads to another bucket by now."""
        where = run.cluster
        assert where is not None, "not a run on a cluster"
        found = cls.of(home, where["context"])
        if found.profile.bucket.rstrip("/") != where["bucket"]:
            raise ClusterError(
                f"run {run.id}: lies in {where['bucket']}, but context {found.context} is about {found.profile.bucket}. "
                "Expected the context that it was submitted with. See: preflow context show"
            )
        return found

    @cached_property
    def api(self) -> Api:
        return Api(self.profile)

    def sign_in_again(self) -> None:
        """With the next question to the API."""
        self.__dict__.pop("api", None)

    @cached_property
    def bucket(self) -> Bucket:
        return Bucket(self.profile.bucket, self.profile.bucket_endpoint_here or self.profile.bucket_endpoint)

    def lend_store(self) -> None:
        """From now on, addresses of inputs lead in this process where they lead in pods: to this store, if they name it."""
        os.environ[URI] = self.profile.bucket
        if endpoint := self.bucket.endpoint:
            os.environ[ENDPOINT] = endpoint

    @cached_property
    def pods(self) -> Pods:
        return Pods(self.profile)

    @property
    def mlflow(self) -> str | None:
        """The MLflow server as it is reached from here."""
        return self.profile.mlflow_here or self.profile.mlflow
