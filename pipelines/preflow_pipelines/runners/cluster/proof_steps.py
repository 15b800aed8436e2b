"""The two steps of `preflow doctor --cluster`: one looks around in its pod and writes what it saw, one reads that.

They stay short and whole: kfp ships their source, so they run in any image that holds preflow.
"""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def look(report: dsl.Output[dsl.Artifact], probe: str, secrets: str) -> None:
    """Reach the bucket and MLflow from inside of a pod, see the secrets; write {what: [whether it worked, found]}."""
    import base64
    import json
    import os
    import urllib.request

    from preflow.artifacts.bucket import Bucket

    found = {}
    try:
        bucket = Bucket(os.environ["PREFLOW_BUCKET"], os.environ.get("PREFLOW_BUCKET_ENDPOINT"))
        bucket.write(probe, b"probe")
        whole = bucket.read(probe) == b"probe"
        bucket.delete(probe)
        found["bucket from pods"] = [whole, f"{bucket.uri}: may write, read and delete"]
    except Exception as error:
        found["bucket from pods"] = [False, str(error).replace(f"/{probe}", "")]
    absent = [name for name in json.loads(secrets) if not os.environ.get(name)]
    found["secrets in pods"] = [not absent, f"empty: {', '.join(absent)}" if absent else "all are there"]
    server = os.environ.get("PREFLOW_TRACKING_URI")
    if server:
        try:
            request = urllib.request.Request(f"{server.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
            user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
            if user:
                pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}".encode()
                request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
            elif token:
                request.add_header("Authorization", f"Bearer {token}")
            with urllib.request.urlopen(request, timeout=10) as answer:
                json.load(answer)
            found["MLflow from pods"] = [True, server]
        except Exception as error:
            found["MLflow from pods"] = [False, f"{server}: {error}"]
    with open(report.path, "w") as file:
        json.dump(found, file)


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def read(report: dsl.Input[dsl.Artifact], again: dsl.Output[dsl.Artifact]) -> None:
    """Pass on what the first step wrote: it went through the artifact store."""
    import shutil

    shutil.copyfile(report.path, again.path)
