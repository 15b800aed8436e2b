"""What every pod of a submitted run gets beside its role's hardware: who it is, where the bucket is, secrets by name.

All of it is environment, which no cache key holds; what is the run's own (its id, the tasks' lineages) is bound in later.
"""

from kfp import dsl

from preflow.artifacts import bucket
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.resources import role_of

BUCKET_KEYS = {"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY"}
MLFLOW_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
RUN_LABEL = "metadata.labels['pipeline/runid']"  # Kubeflow Pipelines sets it on every pod


def apply_pod(task: dsl.PipelineTask, profile: ClusterProfile, hardware: Hardware) -> None:
    """Put the environment of a submitted run on a task; importers have no pod of ours."""
    role = role_of(task)
    if role is None:
        return
    from kfp import kubernetes

    wanted = getattr(hardware, role)
    processes = wanted.accelerator_count if wanted.accelerator else 1
    container = task.container_spec
    assert container is not None
    # what set_env_variable does, without the call stack that it reads from the sources each time (0.1 s)
    container.env = {**(container.env or {}), **_constants(task.name, profile, processes)}
    kubernetes.use_field_path_as_env(task, env_name="PREFLOW_KFP_RUN_ID", field_path=RUN_LABEL)
    if profile.bucket_secret:
        kubernetes.use_secret_as_env(task, secret_name=profile.bucket_secret, secret_key_to_env=BUCKET_KEYS)
    if profile.mlflow_secret:
        for key in MLFLOW_KEYS:
            kubernetes.use_secret_as_env(
                task, secret_name=profile.mlflow_secret, secret_key_to_env={key: key}, optional=True
            )
    for variable, place in profile.secrets.items():
        secret, _, key = place.partition("/")
        kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={key: variable})
    if profile.pull_secret:
        kubernetes.set_image_pull_secrets(task, [profile.pull_secret])


def _constants(task: str, profile: ClusterProfile, processes: int) -> dict[str, str]:
    found = {"PREFLOW_TASK": task, bucket.URI: profile.bucket, "PREFLOW_PROCESSES": str(processes)}
    if profile.bucket_endpoint:
        found[bucket.ENDPOINT] = profile.bucket_endpoint
    if profile.bucket_region:
        found["AWS_DEFAULT_REGION"] = profile.bucket_region
    if profile.mlflow:
        found["PREFLOW_TRACKING_URI"] = profile.mlflow
    return found
