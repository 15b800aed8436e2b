"""Where the tests' cluster is. What its clients do not read of the environment themselves stands in PREFLOW_TEST_* variables,
for a cluster that is not the one `run` starts: PREFLOW_TEST_NAMESPACE, _BUCKET (a URI), _S3_IN_PODS, _KFP_IN_PODS and
_MLFLOW_IN_PODS (addresses that pods reach), _LOCK (images.lock of images that the nodes have).
"""

import os
from typing import Any

from cluster.build_images import NAMESPACE
from preflow.artifacts.bucket import Bucket

BUCKET = os.environ.get("PREFLOW_TEST_BUCKET", "minio://mlpipeline")
S3_IN_PODS = os.environ.get("PREFLOW_TEST_S3_IN_PODS", "http://10.88.0.1:9000")
KFP_IN_PODS = os.environ.get("PREFLOW_TEST_KFP_IN_PODS", "http://10.88.0.1:8888")
MLFLOW_IN_PODS = os.environ.get("PREFLOW_TEST_MLFLOW_IN_PODS", "http://10.88.0.1:5000")


def context(prefix: str) -> dict[str, Any]:
    """A context's settings for this cluster, with a part of its bucket."""
    return {
        "api": os.environ["KFP_ENDPOINT"],
        "namespace": NAMESPACE,
        "bucket": f"{BUCKET}/{prefix}",
        "bucket_endpoint": S3_IN_PODS,
        "bucket_endpoint_here": os.environ["AWS_ENDPOINT_URL"],
        "mlflow": MLFLOW_IN_PODS,
        "mlflow_here": os.environ["MLFLOW_TRACKING_URI"],
    }


def bucket_at(prefix: str) -> Bucket:
    """A part of the bucket."""
    return Bucket(f"{BUCKET}/{prefix}", os.environ["AWS_ENDPOINT_URL"])
