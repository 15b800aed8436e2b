"""Placeholder until the real one is merged."""

from contextlib import contextmanager

from preflow.errors import ClusterError


def kfp_client(profile):
    import kfp

    return kfp.Client(host=profile.api)


def kubernetes(profile):
    from kubernetes import client, config

    config.load_kube_config()
    return client.CoreV1Api()


@contextmanager
def explained(profile, doing):
    try:
        yield
    except Exception as error:
        raise ClusterError(f"{doing}: {type(error).__name__}: {error}") from error
