"""What Kubernetes knows: namespace, service account, secrets by name, nodes for each role, images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflow.errors import ClusterError
from preflow_pipelines.hardware import RoleHardware
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.access import kubernetes_if_any, kubernetes_service
from preflow_pipelines.runners.cluster.answers import asking
from preflow_pipelines.runners.cluster.findings import Finding, not_checked, ok, problem
from preflow_pipelines.runners.cluster.image_probe import check_images

ASK_SECONDS = (5.0, 10.0)
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
NO_RIGHT = "Kubernetes does not show it to you"


def check_kubernetes(
    profile: ClusterProfile,
    images: Mapping[str, str],
    hardware: Mapping[str, RoleHardware],
    why_no_node: Callable[[RoleHardware, Sequence[Mapping[str, Any]]], str | None] | None,
    remembered: Path,
) -> Iterator[Finding]:
    """The namespace first: without it, nothing else is asked."""
    try:
        core = kubernetes_if_any(profile)
        if core is None:
            yield not_checked(
                "namespace", "there is no kubeconfig here", "Set KUBECONFIG to see namespace, secrets and images."
            )
            return
        namespace = _namespace(core, profile)
        yield namespace
        if namespace.state == "problem":
            return
        yield from _service_account(core, profile)
        yield from _secrets(core, profile)
        if why_no_node:
            yield from _nodes(core, profile, hardware, why_no_node)
        yield from check_images(core, profile, images, remembered)
    except ClusterError as error:
        yield problem("Kubernetes", str(error))


def _ask(profile: ClusterProfile, call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, int]:
    """(answer, 200), or (None, 403 or 404). Raises ClusterError for every other answer."""
    from kubernetes.client import ApiException

    with asking(kubernetes_service(profile)):
        try:
            return call(*arguments, _request_timeout=ASK_SECONDS, **options), 200
        except ApiException as error:
            if error.status in (403, 404):
                return None, int(error.status)
            raise


def _namespace(core: Any, profile: ClusterProfile) -> Finding:
    _, status = _ask(profile, core.read_namespace, profile.namespace)
    if status == 404:
        return problem(
            "namespace",
            f"there is no namespace {profile.namespace} in the cluster of {_kube_context(profile)}. Expected the one that "
            "runs go to. Mend `namespace` (or `kube_context`) of the context.",
        )
    if status == 403:
        return not_checked("namespace", f"{profile.namespace}: {NO_RIGHT}")
    return ok("namespace", profile.namespace)


def _kube_context(profile: ClusterProfile) -> str:
    return f"kube_context {profile.kube_context}" if profile.kube_context else "the kubeconfig's current context"


def _service_account(core: Any, profile: ClusterProfile) -> Iterator[Finding]:
    name = profile.service_account
    if not name:
        return
    _, status = _ask(profile, core.read_namespaced_service_account, name, profile.namespace)
    if status == 404:
        yield problem(
            "service account",
            f"there is no service account {name} in namespace {profile.namespace}. Expected the pods' own. "
            f"Mend `service_account`, or make it: kubectl -n {profile.namespace} create serviceaccount {name}",
        )
    elif status == 403:
        yield not_checked("service account", f"{name}: {NO_RIGHT}")
    else:
        yield ok("service account", name)


def _secrets(core: Any, profile: ClusterProfile) -> Iterator[Finding]:
    """Each secret that the profile names, and its keys. What is in them is not looked at."""
    for name, alternatives in sorted(named_secrets(profile).items()):
        secret, status = _ask(profile, core.read_namespaced_secret, name, profile.namespace)
        what, keys = f"secret {name}", alternatives[0]
        if status == 403:
            yield not_checked(what, NO_RIGHT)
            continue
        present = set((secret.data if secret else None) or {})
        fix = f"kubectl -n {profile.namespace} create secret generic {name} " + " ".join(
            f"--from-file={key}=FILE" for key in keys
        )
        if status == 404:
            place = f"there is no secret {name} in namespace {profile.namespace}"
            yield problem(what, f"{place}. Expected the keys {_list(keys)}. Make it: {fix}")
        elif not any(set(one) <= present for one in alternatives):
            missing = [key for key in keys if key not in present]
            yield problem(
                what,
                f"lacks {_list(missing)}; it has {_list(present) or 'no keys'}. Expected {_list(keys)}. "
                "Add the key to the secret, or mend the context.",
            )
        else:
            yield ok(what, _list(next(one for one in alternatives if set(one) <= present)))


def named_secrets(profile: ClusterProfile) -> dict[str, list[tuple[str, ...]]]:
    """Secret -> the sets of keys of which it must hold one."""
    own: dict[str, tuple[str, ...]] = {}
    for place in profile.secrets.values():
        secret, _, key = place.partition("/")
        own[secret] = tuple(sorted({*own.get(secret, ()), key}))
    found = {secret: [keys] for secret, keys in own.items()}
    others: list[tuple[str | None, list[tuple[str, ...]]]] = [
        (profile.bucket_secret, [S3_KEYS]),
        (profile.mlflow_secret, [("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"), ("MLFLOW_TRACKING_TOKEN",)]),
        (profile.pull_secret, [(".dockerconfigjson",), (".dockercfg",)]),
    ]
    for name, alternatives in others:
        if name:
            before = found.get(name, [()])
            found[name] = [tuple(dict.fromkeys((*one, *more))) for one in before for more in alternatives]
    return found


def _nodes(
    core: Any,
    profile: ClusterProfile,
    hardware: Mapping[str, RoleHardware],
    why_no_node: Callable[[RoleHardware, Sequence[Mapping[str, Any]]], str | None],
) -> Iterator[Finding]:
    asking_roles = {role: asked for role, asked in hardware.items() if asked != RoleHardware()}
    if not asking_roles:
        return
    answer, status = _ask(profile, core.list_node)
    if status != 200:
        yield not_checked("nodes", NO_RIGHT, "Ask for the right to list nodes, or look: does one match the hardware?")
        return
    nodes = core.api_client.sanitize_for_serialization(answer.items)
    for role, asked in asking_roles.items():
        why, name = why_no_node(asked, nodes), f"node for {role}"
        if why and asked.autoscaled:
            yield not_checked(name, f"not now: {why}", "Its pods wait until the autoscaler has added one.")
        else:
            yield problem(name, why) if why else ok(name, "there is one")


def _list(names: Any) -> str:
    return ", ".join(sorted(names) if isinstance(names, set) else names)
